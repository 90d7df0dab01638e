package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// labDisks is the disk service, which knows the UUIDs that the lab's disks carry.
type labDisks struct {
	*simulator.VirtualDiskManager
	l *lab
}

// QueryVirtualDiskUuid returns the UUID that disks of this file show in a VM.
func (m *labDisks) QueryVirtualDiskUuid(ctx *simulator.Context, req *types.QueryVirtualDiskUuid) soap.HasFault {
	body := m.VirtualDiskManager.QueryVirtualDiskUuid(ctx, req)
	if b, ok := body.(*methods.QueryVirtualDiskUuidBody); ok && b.Res != nil {
		b.Res.Returnval = m.l.diskFileOf(req.Name).uuid
	}
	return body
}
