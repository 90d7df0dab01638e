// The commands of govc that the documentation prints, made of govc's own packages: govc as a whole is no part of the module
// that the lab's vCenter is built from, and takes minutes to build. Tests type them at that vCenter.
package main

import (
	"os"

	"github.com/vmware/govmomi/cli"
	_ "github.com/vmware/govmomi/cli/permissions"
	_ "github.com/vmware/govmomi/cli/role"
)

func main() { os.Exit(cli.Run(os.Args[1:])) }
