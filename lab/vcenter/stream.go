package main

import (
	"reflect"
	"sort"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// look returns the view of now, with what has changed against the old one as its pending.
func (c *labCollector) look(ctx *simulator.Context, old *view, moment int64) (*view, types.BaseMethodFault) {
	if len(old.pending) > 0 {
		return &view{moment: old.moment, objects: old.objects, pending: old.pending}, nil
	}
	now := &view{moment: moment, objects: map[ref]map[ref]props{}}
	for _, self := range append([]ref{}, c.Filter...) {
		f, ok := ctx.Session.Get(self).(*simulator.PropertyFilter)
		if !ok {
			continue
		}
		told, known := old.objects[self]
		fresh, gone, fault := c.read(ctx, f, told, known, old.moment)
		if fault != nil {
			return nil, fault
		}
		now.objects[self] = merge(told, fresh, gone)
		if updates := compare(told, fresh, gone); len(updates) > 0 {
			now.pending = append(now.pending, types.PropertyFilterUpdate{Filter: self, ObjectSet: updates})
		}
	}
	return now, nil
}

// read returns the objects of the filter that may have changed since the moment, and those that are gone.
func (c *labCollector) read(ctx *simulator.Context, f *simulator.PropertyFilter, told map[ref]props, known bool, moment int64) (map[ref]props, []ref, types.BaseMethodFault) {
	s, whole := f.Spec, true
	if known {
		s.ReportMissingObjectsInResults = types.NewBool(true)
		if whole = c.searchChanged(f, moment); !whole {
			s.ObjectSet = nil
			for r := range told {
				if c.l.changes.changedSince(r, moment) {
					s.ObjectSet = append(s.ObjectSet, types.ObjectSpec{Obj: r})
				}
			}
			if len(s.ObjectSet) == 0 {
				return nil, nil, nil
			}
		}
	}
	fresh, fault := c.retrieve(ctx, s)
	var gone []ref
	for r := range told {
		if _, there := fresh[r]; !there && (whole || c.l.changes.changedSince(r, moment)) {
			gone = append(gone, r)
		}
	}
	return fresh, gone, fault
}

// searchChanged says whether the filter may find other objects than it did.
func (c *labCollector) searchChanged(f *simulator.PropertyFilter, moment int64) bool {
	for _, o := range f.Spec.ObjectSet {
		if len(o.SelectSet) > 0 && (c.l.changes.restructuredSince(moment) || c.l.changes.changedSince(o.Obj, moment)) {
			return true
		}
	}
	return false
}

func (c *labCollector) retrieve(ctx *simulator.Context, s types.PropertyFilterSpec) (map[ref]props, types.BaseMethodFault) {
	body := c.RetrievePropertiesEx(ctx, &types.RetrievePropertiesEx{This: c.Self, SpecSet: []types.PropertyFilterSpec{s}})
	if fault := body.Fault(); fault != nil {
		if f, ok := fault.VimFault().(types.BaseMethodFault); ok {
			return nil, f
		}
		return nil, &types.SystemError{Reason: fault.String}
	}
	out := map[ref]props{}
	for _, o := range body.(*methods.RetrievePropertiesExBody).Res.Returnval.Objects {
		out[o.Obj] = props{}
		for _, p := range o.PropSet {
			out[o.Obj][p.Name] = p.Val
		}
	}
	return out, nil
}

func merge(told, fresh map[ref]props, gone []ref) map[ref]props {
	if len(fresh) == 0 && len(gone) == 0 && told != nil {
		return told
	}
	out := make(map[ref]props, len(told)+len(fresh))
	for r, p := range told {
		out[r] = p
	}
	for r, p := range fresh {
		out[r] = p
	}
	for _, r := range gone {
		delete(out, r)
	}
	return out
}

// compare returns what is to be told of each object, in the order of their names.
func compare(told, fresh map[ref]props, gone []ref) []types.ObjectUpdate {
	var out []types.ObjectUpdate
	for r, now := range fresh {
		before, known := told[r]
		u := types.ObjectUpdate{Kind: types.ObjectUpdateKindModify, Obj: r, ChangeSet: differences(before, now)}
		if !known {
			u.Kind = types.ObjectUpdateKindEnter
		}
		if !known || len(u.ChangeSet) > 0 {
			out = append(out, u)
		}
	}
	for _, r := range gone {
		out = append(out, types.ObjectUpdate{Kind: types.ObjectUpdateKindLeave, Obj: r})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Obj.String() < out[j].Obj.String() })
	return out
}

func differences(before, now props) []types.PropertyChange {
	var out []types.PropertyChange
	for name, v := range now {
		if old, known := before[name]; !known || !reflect.DeepEqual(old, v) {
			out = append(out, types.PropertyChange{Name: name, Op: types.PropertyChangeOpAssign, Val: v})
		}
	}
	for name := range before {
		if _, still := now[name]; !still {
			out = append(out, types.PropertyChange{Name: name, Op: types.PropertyChangeOpAssign})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}
