// Command vcenter is the lab's vCenter: the govmomi simulator plus what it lacks and what
// moving virtual disks between VMs depends on. It has VMFS locks, ConcurrentAccess, TaskInProgress,
// device and snapshot rules, lost hosts, privileges, faults on demand, and a hook by which
// the lab's nodes follow every change before it is committed.
//
//	lab-vcenter -listen 127.0.0.1:0 -control 127.0.0.1:0 -inventory FILE.json [-tlscert F -tlskey F] [-hook URL] [-filler N] [-scratch DIR] [-with-stdin]
//
// Port 0 takes a free port. The first line on stdout is JSON: {"sdk":URL,"control":URL,"pid":N}.
// SIGTERM and SIGINT end it, and so does the end of its standard input with -with-stdin.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type options struct {
	listen, control, inventory string
	cert, key, hook, scratch   string
	filler                     int
	stdin                      bool
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "address of the vCenter")
	flag.StringVar(&o.control, "control", "127.0.0.1:0", "address of the control interface")
	flag.StringVar(&o.inventory, "inventory", "", "JSON file with hosts, datastores, VMs and disks")
	flag.StringVar(&o.cert, "tlscert", "", "certificate file; without it one is made up")
	flag.StringVar(&o.key, "tlskey", "", "key file of the certificate")
	flag.StringVar(&o.hook, "hook", "", "URL that is asked before each change")
	flag.IntVar(&o.filler, "filler", 0, "number of further VMs")
	flag.StringVar(&o.scratch, "scratch", "", "directory that is removed at the end, for a parent that was killed")
	flag.BoolVar(&o.stdin, "with-stdin", false, "end when standard input is closed")
	flag.Parse()
	log.SetOutput(os.Stderr)
	if err := serve(o); err != nil {
		fmt.Fprintln(os.Stderr, "lab-vcenter:", err)
		os.Exit(1)
	}
}

func serve(o options) error {
	stop := ending(o.stdin)
	inv, err := readInventory(o.inventory)
	if err != nil {
		return err
	}
	l := newLab(o.hook)
	defer func() {
		if l.model != nil && l.model.Service != nil {
			l.model.Remove() // its temporary directory
		}
	}()
	if err := l.build(inv, o.filler); err != nil {
		return err
	}
	cert, err := certificate(o.cert, o.key)
	if err != nil {
		return err
	}
	sdk, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	control, err := loopback(o.control)
	if err != nil {
		return err
	}
	servers := []*http.Server{
		run(tls.NewListener(sdk, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}), l.front(l.simulator())),
		run(control, l.control()),
	}
	announce(sdk.Addr(), control.Addr())
	logf("ready: %d VMs", len(l.vms()))
	<-stop
	for _, s := range servers {
		_ = s.Close()
	}
	if o.scratch != "" {
		return os.RemoveAll(o.scratch)
	}
	return nil
}

// simulator returns the simulator's own handler. It insists on a listener of its own, which is closed at once.
func (l *lab) simulator() http.Handler {
	s := l.model.Service
	s.RegisterEndpoints = true
	s.NewServer().Close()
	return s.ServeMux
}

// loopback opens the control interface, which has no login and therefore must not leave the machine.
func loopback(address string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	if a, ok := ln.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		_ = ln.Close()
		return nil, fmt.Errorf("control address %s is not on the loopback; use 127.0.0.1", address)
	}
	return ln, nil
}

func run(ln net.Listener, h http.Handler) *http.Server {
	s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 30 * time.Second}
	go func() { _ = s.Serve(ln) }()
	return s
}

func announce(sdk, control net.Addr) {
	line, err := json.Marshal(map[string]any{
		"sdk": fmt.Sprintf("https://%s/sdk", sdk), "control": fmt.Sprintf("http://%s", control), "pid": os.Getpid(),
	})
	if err != nil {
		panic(err) // strings and a number: cannot happen
	}
	fmt.Println(string(line))
}

// ending returns what is closed when the program is to end.
func ending(stdin bool) <-chan struct{} {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	if stdin {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	return ctx.Done()
}
