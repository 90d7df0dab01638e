package main

import (
	"fmt"
	"os"
	"sync"
	"time"
)

var started = time.Now()

// sinceStart is the time of the lab: milliseconds of the monotonic clock.
func sinceStart() int64 { return time.Since(started).Milliseconds() }

// wallMs is the wall clock as it was at the start, advanced by the monotonic clock.
func wallMs() int64 { return started.UnixMilli() + sinceStart() }

func logf(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "%8d %s\n", sinceStart(), fmt.Sprintf(format, a...))
}

// taskRecord is one task as GET /tasks shows it.
type taskRecord struct {
	Method  string `json:"method"`
	VM      string `json:"vm"`
	State   string `json:"state"`
	Error   string `json:"error"`
	Started int64  `json:"started_ms"`
	Ended   int64  `json:"ended_ms"`
}

// ledger remembers what clients asked for.
type ledger struct {
	mu    sync.Mutex
	total int
	calls map[string]int
	tasks []*taskRecord
}

func newLedger() *ledger { return &ledger{calls: map[string]int{}} }

func (g *ledger) called(method string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total++
	g.calls[method]++
}

func (g *ledger) counts() map[string]any {
	g.mu.Lock()
	defer g.mu.Unlock()
	methods := map[string]int{}
	for k, v := range g.calls {
		methods[k] = v
	}
	return map[string]any{"total": g.total, "methods": methods}
}

func (g *ledger) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total, g.calls = 0, map[string]int{}
}

func (g *ledger) begin(method, vm string) *taskRecord {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := &taskRecord{Method: method, VM: vm, State: "running", Started: wallMs()}
	g.tasks = append(g.tasks, r)
	return r
}

func (g *ledger) end(r *taskRecord, fault string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.State, r.Error, r.Ended = "success", fault, wallMs()
	if fault != "" {
		r.State = "error"
	}
	logf("task %s %s %s %d ms %s", r.Method, r.VM, r.State, r.Ended-r.Started, fault)
}

func (g *ledger) list() []taskRecord {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]taskRecord, 0, len(g.tasks))
	for _, r := range g.tasks {
		out = append(out, *r)
	}
	return out
}

// delays are how many milliseconds each kind of work takes.
type delays struct {
	mu sync.Mutex
	ms map[string]int64
}

var delayNames = []string{"attach", "detach", "poweroff", "poweron", "reset", "suspend", "shutdown", "snapshot", "reconfigure", "locked", "call"}

func newDelays() *delays { return &delays{ms: map[string]int64{}} }

func (d *delays) get(name string) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.ms[name]) * time.Millisecond
}

func (d *delays) set(in map[string]int64) error {
	for name, ms := range in {
		known := false
		for _, n := range delayNames {
			known = known || n == name
		}
		if !known || ms < 0 || ms > 600_000 {
			return fmt.Errorf("delay %q of %d ms is not usable; names are %v, values 0 to 600000", name, ms, delayNames)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, ms := range in {
		d.ms[name] = ms
	}
	return nil
}

func (d *delays) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ms = map[string]int64{}
}
