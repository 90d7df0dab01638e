package main

import (
	"strconv"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	pageSize   = 100 // objects in one answer, as of a vCenter
	keptViews  = 1000
	gatherTime = 5 * time.Millisecond // changes that come together are told together
)

// labCollector is a property collector whose streams keep up. The simulator's reads every object of
// a filter anew for each change of anything, so that it falls minutes behind under load; this
// one reads what changed, and each version of a stream can be asked for by several clients at once.
type labCollector struct {
	simulator.PropertyCollector
	l *lab

	mu     sync.Mutex
	last   int
	views  map[string]*view
	ending chan struct{} // closed to interrupt those who wait, for the reason in ended
	ended  types.BaseMethodFault
}

// props are the properties of one object by their path.
type props map[string]types.AnyType

// view is what a client knows at one version of the stream.
type view struct {
	moment  int64
	objects map[ref]map[ref]props        // filter -> object -> what was told
	pending []types.PropertyFilterUpdate // what did not fit into the answer
}

func (l *lab) newCollector() *labCollector {
	c := &labCollector{l: l, views: map[string]*view{}, ending: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams[c] = true
	return c
}

// CreatePropertyCollector makes one with filters of its own.
func (c *labCollector) CreatePropertyCollector(ctx *simulator.Context, _ *types.CreatePropertyCollector) soap.HasFault {
	made := c.l.newCollector()
	made.Self.Type = "PropertyCollector"
	self := ctx.Session.Put(made).Reference()
	return &methods.CreatePropertyCollectorBody{Res: &types.CreatePropertyCollectorResponse{Returnval: self}}
}

// DestroyPropertyCollector ends it and whoever waits for it.
func (c *labCollector) DestroyPropertyCollector(ctx *simulator.Context, req *types.DestroyPropertyCollector) soap.HasFault {
	c.interrupt(new(types.RequestCanceled))
	c.l.mu.Lock()
	delete(c.l.streams, c)
	c.l.mu.Unlock()
	return c.PropertyCollector.DestroyPropertyCollector(ctx, req)
}

// CancelWaitForUpdates ends the waiting.
func (c *labCollector) CancelWaitForUpdates(_ *types.CancelWaitForUpdates) soap.HasFault {
	c.interrupt(new(types.RequestCanceled))
	return &methods.CancelWaitForUpdatesBody{Res: &types.CancelWaitForUpdatesResponse{}}
}

func (c *labCollector) interrupt(reason types.BaseMethodFault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = reason
	close(c.ending)
	c.ending = make(chan struct{})
}

// interruptStreams ends all waiting of all clients.
func (l *lab) interruptStreams(reason types.BaseMethodFault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.streams {
		c.interrupt(reason)
	}
}

// WaitForUpdates is the old form of WaitForUpdatesEx, without a limit.
func (c *labCollector) WaitForUpdates(ctx *simulator.Context, req *types.WaitForUpdates) soap.HasFault {
	set, f := c.wait(ctx, req.Version, types.WaitOptions{})
	if f != nil {
		return &methods.WaitForUpdatesBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	return &methods.WaitForUpdatesBody{Res: &types.WaitForUpdatesResponse{Returnval: *set}}
}

// WaitForUpdatesEx returns what changed since the version, as soon as something did.
func (c *labCollector) WaitForUpdatesEx(ctx *simulator.Context, req *types.WaitForUpdatesEx) soap.HasFault {
	var o types.WaitOptions
	if req.Options != nil {
		o = *req.Options
	}
	set, f := c.wait(ctx, req.Version, o)
	if f != nil {
		return &methods.WaitForUpdatesExBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	return &methods.WaitForUpdatesExBody{Res: &types.WaitForUpdatesExResponse{Returnval: set}}
}

// wait returns nil without a fault when the time is over.
func (c *labCollector) wait(ctx *simulator.Context, version string, o types.WaitOptions) (*types.UpdateSet, types.BaseMethodFault) {
	c.mu.Lock()
	ending, known := c.ending, c.views[version]
	c.mu.Unlock()
	if version == "" {
		known = &view{}
	}
	if known == nil {
		return nil, new(types.InvalidCollectorVersion)
	}
	var late <-chan time.Time
	if o.MaxWaitSeconds != nil {
		t := time.NewTimer(time.Duration(*o.MaxWaitSeconds) * time.Second)
		defer t.Stop()
		late = t.C
	}
	for {
		moment, wake := c.l.changes.now()
		now, f := c.look(ctx, known, moment)
		if f != nil {
			return nil, f
		}
		if len(now.pending) > 0 || version == "" {
			return c.page(now, int(o.MaxObjectUpdates)), nil
		}
		known = now // nothing that this client watches has changed up to here
		select {
		case <-wake:
			time.Sleep(gatherTime)
		case <-late:
			return nil, nil
		case <-ending:
			c.mu.Lock()
			defer c.mu.Unlock()
			return nil, c.ended
		}
	}
}

// page keeps the view under a new version and returns as much of what is to be told as one answer takes.
func (c *labCollector) page(v *view, limit int) *types.UpdateSet {
	if limit <= 0 || limit > pageSize {
		limit = pageSize
	}
	set := &types.UpdateSet{}
	set.FilterSet, v.pending = cut(v.pending, limit)
	if len(v.pending) > 0 {
		set.Truncated = types.NewBool(true)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	set.Version = strconv.Itoa(c.last)
	c.views[set.Version] = v
	delete(c.views, strconv.Itoa(c.last-keptViews))
	return set
}

func cut(all []types.PropertyFilterUpdate, limit int) (first, rest []types.PropertyFilterUpdate) {
	for _, f := range all {
		n := min(limit, len(f.ObjectSet))
		limit -= n
		if n > 0 {
			first = append(first, types.PropertyFilterUpdate{Filter: f.Filter, ObjectSet: f.ObjectSet[:n]})
		}
		if n < len(f.ObjectSet) {
			rest = append(rest, types.PropertyFilterUpdate{Filter: f.Filter, ObjectSet: f.ObjectSet[n:]})
		}
	}
	return first, rest
}
