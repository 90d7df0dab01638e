package main

import "sync"

// changeLog says which objects changed after a moment, and wakes those who wait for it.
type changeLog struct {
	mu        sync.Mutex
	moment    int64
	at        map[ref]int64 // object -> moment of its last change
	structure int64         // moment in which an object last came or went
	wake      chan struct{} // closed at the next change
}

func newChangeLog() *changeLog { return &changeLog{at: map[ref]int64{}, wake: make(chan struct{})} }

// touch notes a change of the object; structural ones are those by which a search may find more or fewer objects.
func (c *changeLog) touch(r ref, structural bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moment++
	c.at[r] = c.moment
	if structural {
		c.structure = c.moment
	}
	close(c.wake)
	c.wake = make(chan struct{})
}

// now returns the moment, and a channel that is closed by the first change after it.
func (c *changeLog) now() (int64, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.moment, c.wake
}

func (c *changeLog) changedSince(r ref, moment int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at[r] > moment
}

func (c *changeLog) restructuredSince(moment int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.structure > moment
}
