package main

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
)

// Whatever is sent to the control interface, the answer is 200 or 400 with a sentence.
func TestControlNeverPanics(t *testing.T) {
	h := twoVMs(t, "").control()
	paths := []string{"/guest-power", "/guest", "/question", "/reach", "/host", "/delays", "/fault", "/fault-end", "/net", "/deny", "/vm", "/disk", "/snapshot", "/sessions", "/reset", "/inventory", "/calls", "/tasks"}
	bodies := []string{"", "{", "null", "[]", "7", `"x"`, `{"vm":7}`, `{"vm":"a"}`, `{"vm":"none"}`, `{"unknown":1}`, `{"vm":null,"power":[]}`, `{"attach":-1}`, `{"attach":"x"}`, `{"method":"x","type":"VirtualDisk"}`, `{"name":""}`, `{"path":"x","capacity_mb":1}`, `{"path":"[ds1] ../../x.vmdk","capacity_mb":1}`, "\xff\xfe"}
	for _, p := range paths {
		for _, b := range bodies {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", p, strings.NewReader(b)))
			if w.Code == 200 {
				continue
			}
			var out struct{ Error string }
			if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 400 || out.Error == "" {
				t.Errorf("%s %q: %d %s", p, b, w.Code, w.Body)
			}
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("DELETE", "/reset", nil))
	if w.Code != 400 {
		t.Errorf("DELETE /reset: %d", w.Code)
	}
}

func TestFillerIsQuick(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	l := newLab("")
	if err := l.build(&inventory{Hosts: []string{"e"}, Datastores: []string{"d"}}, 200); err != nil {
		t.Fatal(err)
	}
	defer l.model.Remove()
	if n := len(l.vms()); n != 200 {
		t.Fatalf("%d VMs", n)
	}
}
