package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

const bodyLimit = 1 << 20

// endpoint registers a control call: In is what its JSON object may contain. Whatever is
// wrong with a request is answered with status 400 and one sentence.
func endpoint[In any](mux *http.ServeMux, path string, f func(In) (any, error)) {
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		var in In
		out, err := any(nil), decode(r, &in)
		if err == nil {
			out, err = f(in)
		}
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			out = map[string]string{"error": err.Error()}
		}
		if err := json.NewEncoder(w).Encode(out); err != nil {
			logf("control: answer to %s not sent: %v", path, err)
		}
	})
}

func decode(r *http.Request, in any) error {
	if r.Method == http.MethodGet {
		return nil
	}
	if r.Method != http.MethodPost {
		return fmt.Errorf("method %s is not usable here; use GET or POST", r.Method)
	}
	dec := json.NewDecoder(io.LimitReader(r.Body, bodyLimit))
	dec.DisallowUnknownFields()
	if err := dec.Decode(in); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("the body is not the JSON object that %s takes: %w", r.URL.Path, err)
	}
	return nil
}

type nothing struct{}

var done = map[string]bool{"ok": true}

// control returns the lab's own interface.
func (l *lab) control() http.Handler {
	mux := http.NewServeMux()
	endpoint(mux, "/inventory", func(nothing) (any, error) { return l.show(), nil })
	endpoint(mux, "/calls", func(nothing) (any, error) { return l.ledger.counts(), nil })
	endpoint(mux, "/tasks", func(nothing) (any, error) { return l.ledger.list(), nil })
	endpoint(mux, "/guest-power", l.doGuestPower)
	endpoint(mux, "/guest", l.doGuest)
	endpoint(mux, "/question", l.doQuestion)
	endpoint(mux, "/reach", l.doReach)
	endpoint(mux, "/host", l.doHost)
	endpoint(mux, "/delays", func(in map[string]int64) (any, error) { return done, l.delays.set(in) })
	endpoint(mux, "/fault", func(in faultRule) (any, error) { return done, l.faults.add(in) })
	endpoint(mux, "/fault-end", func(in struct{ Method string }) (any, error) {
		return map[string]int{"left": l.faults.end(in.Method)}, nil
	})
	endpoint(mux, "/net", l.doNet)
	endpoint(mux, "/deny", l.doDeny)
	endpoint(mux, "/vm", func(in vmSpec) (any, error) { return done, l.addVM(in) })
	endpoint(mux, "/disk", func(in diskSpec) (any, error) { return done, l.addDisk(in) })
	endpoint(mux, "/snapshot", l.doSnapshot)
	endpoint(mux, "/sessions", l.doSessions)
	endpoint(mux, "/reset", func(nothing) (any, error) {
		l.faults.reset()
		l.deny.reset()
		l.delays.reset()
		l.ledger.reset()
		_, err := l.net.set("", "", 0)
		return done, err
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, "{\"error\": %q}\n", "no such control call: "+r.URL.Path)
	})
	return mux
}

func (l *lab) doGuestPower(in struct{ VM, Power string }) (any, error) {
	vm, err := l.vm(in.VM)
	if err != nil {
		return nil, err
	}
	to := types.VirtualMachinePowerState(in.Power)
	if to != on && to != off {
		return nil, fmt.Errorf("power %q is not known; use poweredOn or poweredOff", in.Power)
	}
	return done, l.guestPower(vm, to)
}

func (l *lab) doGuest(in struct{ VM, Heartbeat, Tools, Address string }) (any, error) {
	vm, err := l.vm(in.VM)
	if err != nil {
		return nil, err
	}
	switch in.Heartbeat {
	case "", "green", "yellow", "red", "gray":
	default:
		return nil, fmt.Errorf("heartbeat %q is not known; use green, yellow, red or gray", in.Heartbeat)
	}
	switch in.Tools {
	case "", toolsRunning, toolsNotRunning, "guestToolsExecutingScripts":
	default:
		return nil, fmt.Errorf("tools %q is not known; use %s or %s", in.Tools, toolsRunning, toolsNotRunning)
	}
	if in.Heartbeat == "" && in.Tools == "" && in.Address == "" {
		return nil, errors.New("nothing to set; give heartbeat, tools or address")
	}
	l.setGuest(vm, in.Heartbeat, in.Tools, in.Address)
	return done, nil
}

func (l *lab) doQuestion(in struct{ VM, ID, Text string }) (any, error) {
	vm, err := l.vm(in.VM)
	if err != nil {
		return nil, err
	}
	if in.Text != "" && in.ID == "" {
		return nil, errors.New("the question has no id; give id, such as msg.hbacommon.outofspace")
	}
	l.setQuestion(vm, in.ID, in.Text)
	return done, nil
}

func (l *lab) doReach(in struct{ VM, Connection string }) (any, error) {
	vm, err := l.vm(in.VM)
	if err != nil {
		return nil, err
	}
	switch s := types.VirtualMachineConnectionState(in.Connection); s {
	case types.VirtualMachineConnectionStateConnected, types.VirtualMachineConnectionStateDisconnected,
		types.VirtualMachineConnectionStateInaccessible, types.VirtualMachineConnectionStateOrphaned, types.VirtualMachineConnectionStateInvalid:
		l.setReach(vm, s)
		return done, nil
	}
	return nil, fmt.Errorf("connection %q is not known; use connected, disconnected, inaccessible, orphaned or invalid", in.Connection)
}

func (l *lab) doHost(in struct{ Host, Connection string }) (any, error) {
	h, err := l.host(in.Host)
	if err != nil {
		return nil, err
	}
	switch s := types.HostSystemConnectionState(in.Connection); s {
	case types.HostSystemConnectionStateConnected, types.HostSystemConnectionStateDisconnected, types.HostSystemConnectionStateNotResponding:
		l.setHost(h, s)
		return done, nil
	}
	return nil, fmt.Errorf("connection %q is not known; use connected, disconnected or notResponding", in.Connection)
}

func (l *lab) doNet(in struct {
	Mode, Method string
	Count        int
}) (any, error) {
	left, err := l.net.set(in.Mode, in.Method, in.Count)
	return map[string]int{"left": left}, err
}

func (l *lab) doDeny(in struct {
	User       string
	Privileges []string
}) (any, error) {
	if in.User == "" {
		return nil, errors.New("no user is named; give user")
	}
	l.deny.set(in.User, in.Privileges)
	return done, nil
}

func (l *lab) doSnapshot(in struct {
	VM, Name  string
	RemoveAll bool `json:"remove_all"`
}) (any, error) {
	vm, err := l.vm(in.VM)
	if err != nil {
		return nil, err
	}
	switch {
	case in.RemoveAll:
		l.removeSnapshots(l.ctx(), vm)
	case in.Name == "":
		return nil, errors.New("the snapshot has no name; give name or remove_all")
	default:
		l.makeSnapshot(l.ctx(), vm, in.Name, "")
	}
	return done, nil
}

// doSessions ends all sessions: the next call of each client is not authenticated.
func (l *lab) doSessions(in struct{ Expire bool }) (any, error) {
	ctx := l.ctx()
	m, ok := ctx.Session.Get(*l.model.ServiceContent.SessionManager).(*simulator.SessionManager)
	if !ok {
		return nil, errors.New("the simulator has no session manager")
	}
	if !in.Expire {
		return map[string]int{"sessions": len(m.SessionList)}, nil
	}
	for _, s := range m.SessionList {
		body := m.TerminateSession(ctx, &types.TerminateSession{This: m.Self, SessionId: []string{s.Key}})
		if b, ok := body.(*methods.TerminateSessionBody); ok && b.Fault_ != nil {
			logf("session %s had ended already", s.Key)
		}
	}
	l.interruptStreams(&types.NotAuthenticated{NoPermission: types.NoPermission{Object: &m.Self, PrivilegeId: "System.View"}})
	return map[string]int{"expired": len(m.SessionList)}, nil
}
