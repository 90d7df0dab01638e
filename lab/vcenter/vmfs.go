package main

import (
	"strings"
	"sync"

	"github.com/vmware/govmomi/vim25/types"
)

// openFiles maps a file to whether it is opened for several writers.
type openFiles map[string]bool

// claim is a file that a VM is about to open: its task has passed the lock check
// and has not changed the configuration yet.
type claim struct {
	vm     ref
	shared bool
}

// vmfs knows which running VM has which file open. What counts here is whether
// a VM really runs, not what vCenter believes about one on a lost host.
type vmfs struct {
	mu      sync.Mutex
	files   map[ref]openFiles
	running map[ref]bool
	claims  map[string]claim
}

func newVmfs() *vmfs {
	return &vmfs{files: map[ref]openFiles{}, running: map[ref]bool{}, claims: map[string]claim{}}
}

func (v *vmfs) setFiles(vm ref, devices []types.BaseVirtualDevice) {
	files := openFiles{}
	for _, d := range devices {
		shared := isMultiWriter(d)
		for _, f := range chainOf(d) {
			files[f] = shared
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.files[vm] = files
}

func (v *vmfs) setRunning(vm ref, on bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.running[vm] = on
}

func (v *vmfs) isRunning(vm ref) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.running[vm]
}

func (v *vmfs) forget(vm ref) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.files, vm)
	delete(v.running, vm)
}

// opener returns a running VM other than self that has the file open or is about to. The caller holds mu.
func (v *vmfs) opener(self ref, file string, shared bool) (ref, bool) {
	if c, ok := v.claims[file]; ok && c.vm != self && !(shared && c.shared) {
		return c.vm, true
	}
	for vm, files := range v.files {
		if vm == self || !v.running[vm] {
			continue
		}
		if theirs, ok := files[file]; ok && !(shared && theirs) {
			return vm, true
		}
	}
	return ref{}, false
}

// claim takes all files for the VM or none; it returns the file that is taken by another.
func (v *vmfs) claim(self ref, files openFiles) (taken string, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for f, shared := range files {
		if _, busy := v.opener(self, f, shared); busy {
			return f, false
		}
	}
	for f, shared := range files {
		v.claims[f] = claim{self, shared}
	}
	return "", true
}

// release ends the VM's claims, after its change has been made or given up.
func (v *vmfs) release(self ref) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for f, c := range v.claims {
		if c.vm == self {
			delete(v.claims, f)
		}
	}
}

// filesOf returns the files that the VM would open when it starts.
func (v *vmfs) filesOf(vm ref) openFiles {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := openFiles{}
	for f, shared := range v.files[vm] {
		out[f] = shared
	}
	return out
}

// lockedBy says which running VM other than self has the file open, or, for a folder, a file in it.
func (v *vmfs) lockedBy(self ref, path string) (ref, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	folder := strings.TrimSuffix(path, "/") + "/"
	for vm, files := range v.files {
		if vm == self || !v.running[vm] {
			continue
		}
		for f := range files {
			if f == path || strings.HasPrefix(f, folder) {
				return vm, true
			}
		}
	}
	return ref{}, false
}
