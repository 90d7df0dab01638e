package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// labAuthorization tells a user what was taken from it; the simulator's own grants everything.
type labAuthorization struct {
	*simulator.AuthorizationManager
	l    *lab
	user string
}

func (m *labAuthorization) HasPrivilegeOnEntities(req *types.HasPrivilegeOnEntities) soap.HasFault {
	var found []types.EntityPrivilege
	for _, entity := range req.Entity {
		one := types.EntityPrivilege{Entity: entity}
		for _, id := range req.PrivId {
			granted := !m.l.deny.denied(m.user, id)
			one.PrivAvailability = append(one.PrivAvailability, types.PrivilegeAvailability{PrivId: id, IsGranted: granted})
		}
		found = append(found, one)
	}
	return &methods.HasPrivilegeOnEntitiesBody{Res: &types.HasPrivilegeOnEntitiesResponse{Returnval: found}}
}
