package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const hangLimit = 120 * time.Second

// netFaults are what the network does to the next requests.
type netFaults struct {
	mu     sync.Mutex
	mode   string
	method string
	left   int           // requests still hit; negative: until changed
	ended  chan struct{} // closed when the mode is changed, which frees hanging requests
}

func newNetFaults() *netFaults { return &netFaults{ended: make(chan struct{})} }

// set changes the mode, and returns how many of the requests that the former one was to hit never came.
func (n *netFaults) set(mode, method string, count int) (int, error) {
	switch mode {
	case "", "503", "drop", "dropreply", "hang":
	default:
		return 0, fmt.Errorf("net mode %q is not known; use 503, drop, dropreply, hang or an empty one", mode)
	}
	if count <= 0 {
		count = -1
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	left := max(n.left, 0)
	close(n.ended)
	n.ended = make(chan struct{})
	n.mode, n.method, n.left = mode, method, count
	return left, nil
}

// take returns what happens to a request of the method, and counts it off.
func (n *netFaults) take(method string) (string, chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mode == "" || n.left == 0 || (n.method != "" && n.method != method) {
		return "", nil
	}
	if n.left > 0 {
		n.left--
	}
	return n.mode, n.ended
}

var soapMethod = regexp.MustCompile(`<(?:\w+:)?Body[^>]*>\s*<(?:\w+:)?(\w+)`)

// front stands before the simulator: network faults, the delay of every call, and
// the repair of one of the simulator's answers.
func (l *lab) front(sim http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				log.Printf("panic in %s: %v", r.URL.Path, p)
				panic(http.ErrAbortHandler)
			}
		}()
		method, err := peek(r)
		if err != nil {
			return
		}
		if strings.HasPrefix(r.URL.Path, "/sdk") && r.Method == http.MethodPost {
			time.Sleep(l.delays.get("call"))
		}
		mode, ended := l.net.take(method)
		switch mode {
		case "503":
			http.Error(w, "Service Unavailable", http.StatusServiceUnavailable)
		case "drop": // not delivered
			hangUp(w)
		case "dropreply": // delivered, and the answer is lost
			sim.ServeHTTP(&recorder{header: http.Header{}}, r)
			hangUp(w)
		case "hang":
			wait(r, ended)
			hangUp(w)
		default:
			answer(sim, method, w, r)
		}
	})
}

// peek returns the name of the SOAP method of the request, "" for others, and leaves the body readable.
func peek(r *http.Request) (string, error) {
	if r.Method != http.MethodPost {
		return "", nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if m := soapMethod.FindSubmatch(body); m != nil {
		return string(m[1]), nil
	}
	return "", nil
}

func wait(r *http.Request, ended chan struct{}) {
	timer := time.NewTimer(hangLimit)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	case <-r.Context().Done():
	}
}

// answer lets the simulator answer. Its answer to a Fetch of an unset property is that of
// another method, which clients cannot read; it becomes an empty answer to Fetch.
func answer(sim http.Handler, method string, w http.ResponseWriter, r *http.Request) {
	if method != "Fetch" {
		sim.ServeHTTP(w, r)
		return
	}
	rec := &recorder{header: w.Header()}
	sim.ServeHTTP(rec, r)
	body := rec.body.Bytes()
	if i := bytes.Index(body, []byte("<RetrievePropertiesExResponse")); i >= 0 {
		body = append(body[:i:i], `<FetchResponse xmlns="urn:vim25"></FetchResponse></soapenv:Body></soapenv:Envelope>`...)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if rec.status != 0 {
		w.WriteHeader(rec.status)
	}
	_, _ = w.Write(body)
}

// recorder keeps an answer instead of sending it.
type recorder struct {
	header http.Header
	body   bytes.Buffer
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

// hangUp closes the connection without a word.
func hangUp(w http.ResponseWriter) {
	h, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	if c, _, err := h.Hijack(); err == nil {
		_ = c.Close()
	}
}
