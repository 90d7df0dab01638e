package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

const hookLimit = 30 * time.Second

// step is one change that the lab's nodes must follow.
type step struct {
	Op   string
	VM   string
	Path string
	UUID string
	Bus  int32
	Unit int32
	disk bool
}

func (s step) MarshalJSON() ([]byte, error) {
	m := map[string]any{"op": s.Op, "vm": s.VM}
	if s.disk {
		m["path"], m["uuid"], m["bus"], m["unit"] = s.Path, s.UUID, s.Bus, s.Unit
	}
	return json.Marshal(m)
}

// hook asks the lab's nodes to follow a change before it is committed.
type hook struct {
	url    string
	client *http.Client
}

func newHook(url string) *hook { return &hook{url, &http.Client{Timeout: hookLimit}} }

// follow reports the steps one after another. The first refusal ends it: the steps
// before it are taken back in reverse order, and the fault is returned.
func (h *hook) follow(steps []step) types.BaseMethodFault {
	if h == nil || h.url == "" {
		return nil
	}
	for i, s := range steps {
		if f := h.post(s); f != nil {
			h.takeBack(steps[:i])
			return f
		}
	}
	return nil
}

func (h *hook) takeBack(steps []step) {
	if h == nil || h.url == "" {
		return
	}
	opposite := map[string]string{"attach": "detach", "detach": "attach"}
	for i := len(steps) - 1; i >= 0; i-- {
		s := steps[i]
		if s.Op = opposite[s.Op]; s.Op == "" {
			continue
		}
		if f := h.post(s); f != nil {
			logf("hook: taking back %s of %s failed: %s", steps[i].Op, s.Path, faultText(f))
		}
	}
}

func (h *hook) post(s step) types.BaseMethodFault {
	body, err := json.Marshal(s)
	if err != nil {
		return hookFault("the step cannot be written as JSON: %v", err)
	}
	r, err := h.client.Post(h.url, "application/json", bytes.NewReader(body))
	if err != nil {
		return hookFault("the lab's hook did not answer: %v", err)
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	if err != nil {
		return hookFault("the lab's hook broke off: %v", err)
	}
	switch r.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusConflict:
		return refusal(answer)
	}
	return hookFault("the lab's hook answered %d: %.200s", r.StatusCode, answer)
}

// refusal turns the hook's {"fault","message"} into the fault that the task ends with.
func refusal(answer []byte) types.BaseMethodFault {
	var in struct{ Fault, Message string }
	if err := json.Unmarshal(answer, &in); err != nil {
		return hookFault("the lab's hook refused without JSON: %.200s", answer)
	}
	if in.Fault == "" {
		in.Fault = "GenericVmConfigFault"
	}
	f, err := newFault(in.Fault, ref{Type: "VirtualMachine", Value: "vm-0"}, in.Message)
	if err != nil {
		return hookFault("%v", err)
	}
	if g, ok := f.(*types.GenericVmConfigFault); ok && in.Message != "" {
		g.Reason = in.Message
	}
	return f
}

func hookFault(format string, a ...any) types.BaseMethodFault {
	reason := fmt.Sprintf(format, a...)
	logf("hook: %s", reason)
	return say(&types.SystemError{Reason: reason}, "msg.lab.hook", "%s", reason)
}
