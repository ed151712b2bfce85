package main

import (
	"runtime"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

// A probe is a handler in the BPF object and where to attach it.
type probe struct {
	// name is the handler's; the programs made of it are fentry_NAME and
	// kprobe_NAME, or fexit_NAME, kentry_NAME and kexit_NAME for an exit, or
	// NAME alone for a tracepoint. See bpf/probe.h.
	name string
	kind probeKind
	// targets are the kernel functions, or the tracepoint, that do, best
	// first.
	targets []string
	// events are what cannot be told without this probe.
	events []string
	// required makes the tracer refuse to start without the probe.
	required bool
	// otherwise is the probe to use where this one cannot be had.
	otherwise *probe
}

type probeKind int

const (
	_ probeKind = iota
	tracepoint
	entry
	exit
)

// probes returns every probe. Raw tracepoints are the most stable and need no
// trampolines. The functions are those that all of
// 5.10 to 7.3 have: do_unlinkat, do_renameat2 and do_filp_open are gone in 7.2,
// so deletes and renames are taken at vfs_* and opens at do_dentry_open, with
// the mount, which those do not know, from mnt_want_write.
func probes() []probe {
	const required = true
	modify := []string{typeFileModify}
	return []probe{
		{"process_fork", tracepoint, []string{"sched_process_fork"}, []string{typeFork}, required, nil},
		{"process_exec", tracepoint, []string{"sched_process_exec"}, []string{typeExec}, required, nil},
		exitProbe(),
		function("commit_creds", entry, []string{typeSetuid, typeSetgid}, required),
		function("do_dentry_open", exit, []string{typeFileCreate, typeFileMemfdOpen, typeFileShmemOpen}, required),
		function("mnt_want_write", entry, []string{typeFileDelete, typeFileRename}, required),
		function("vfs_unlink", entry, []string{typeFileDelete}, required),
		{"vfs_unlink_exit", exit, []string{"vfs_unlink"}, []string{typeFileDelete}, required, nil},
		function("vfs_rename", entry, []string{typeFileRename}, required),
		{"vfs_rename_exit", exit, []string{"vfs_rename"}, []string{typeFileRename}, required, nil},

		function("chmod_common", exit, modify, false),
		function("chown_common", exit, modify, false),
		function("do_truncate", exit, modify, false),
		function("vfs_write", exit, modify, false),
		function("vfs_writev", exit, modify, false),
		function("vfs_setxattr", exit, modify, false),
		function("vfs_removexattr", exit, modify, false),
		// ksys_setsid may be inlined into the system call.
		{
			"setsid", exit,
			[]string{"__do_sys_setsid", systemCall("setsid"), "ksys_setsid"},
			[]string{typeSetsid},
			false, nil,
		},
		// Called through the line discipline for terminals of all kinds, with
		// the text already copied from the user, whatever the iovec's form.
		function("n_tty_write", entry, []string{typeTTYWrite}, false),
		{"memfd_create", entry, []string{systemCall("memfd_create")}, []string{typeMemfdCreate}, false, nil},
		ptraceProbe(),
		// ksys_shmget is inlined into the system call.
		{"shmget", entry, []string{systemCall("shmget")}, []string{typeShmget}, false, nil},
		{"load_module", tracepoint, []string{"module_load"}, []string{typeLoadModule}, false, nil},
		function("tcp_connect", entry, []string{typeNetAttempted}, false),
		function("inet_csk_accept", exit, []string{typeNetAccepted}, false),
		function("tcp_close", entry, []string{typeNetClosed}, false),
	}
}

// function is a probe named as the one function it attaches to.
func function(name string, kind probeKind, events []string, required bool) probe {
	return probe{name, kind, []string{name}, events, required, nil}
}

// systemCall is the kernel's function of a system call, which is given the
// caller's registers.
func systemCall(name string) string {
	return goarch.Lookup(runtime.GOARCH).Syscall + "sys_" + name
}

// exitProbe prefers a function of the last thread only; see bpf/process.h.
func exitProbe() probe {
	p := function("disassociate_ctty", entry, []string{typeExit}, true)
	p.otherwise = &probe{"process_exit", tracepoint, []string{"sched_process_exit"}, p.events, true, nil}
	return p
}

// ptraceProbe prefers the function that knows who is traced.
func ptraceProbe() probe {
	p := function("ptrace_attach", entry, []string{typePtrace}, false)
	p.otherwise = &probe{"ptrace", entry, []string{systemCall("ptrace")}, p.events, false, nil}
	return p
}
