package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// forkExit forks a child that exits.
func forkExit(self object, _ []string, _ *os.File) (object, error) {
	_, err := forkedAndGone()
	return self, err
}

// marker is forkExit that tells the child's pid as well. testrunner runs it
// last: events about these processes come after all others.
func marker(self object, _ []string, _ *os.File) (object, error) {
	pid, err := forkedAndGone()
	self["child_pid"] = pid
	return self, err
}

// forkedAndGone forks a child and waits until it has exited.
func forkedAndGone() (pid int, err error) {
	child, errno := forkAndExit()
	if errno != 0 {
		return 0, wrap("fork", errno)
	}
	return int(child), wait(int(child))
}

// forkExec takes capabilities away, so that the fork's event can be told from
// others, and forks a child that executes another program, by which root gets
// them all back.
func forkExec(_ object, _ []string, _ *os.File) (object, error) {
	if err := limitCapabilities(0xffffffff, 0xf0f0f0f0); err != nil {
		return nil, err
	}
	parent, err := pidInfo()
	if err != nil {
		return nil, err
	}
	ruid, euid, suid := unix.Getresuid()
	rgid, egid, sgid := unix.Getresgid()
	pid, err := start("./do_nothing", []string{"./do_nothing"}, []string{"TEST_ENV_KEY1=TEST_ENV_VAL1", "TEST_ENV_KEY2=TEST_ENV_VAL2"})
	if err != nil {
		return nil, err
	}
	return object{
		"parent_info": parent,
		"child_pid":   pid,
		"is_setuid":   false,
		"is_setgid":   false,
		"is_memfd":    false,
		"ruid":        ruid,
		"euid":        euid,
		"suid":        suid,
		"rgid":        rgid,
		"egid":        egid,
		"sgid":        sgid,
	}, wait(pid)
}

// setreuid and setregid change the ids of this thread only. The functions of
// package syscall do it on all threads, as C libraries do, and would make one
// event each.
func setreuid(object, []string, *os.File) (object, error) {
	return setID("setreuid", unix.SYS_SETREUID, "new_ruid", "new_euid")
}

func setregid(object, []string, *os.File) (object, error) {
	return setID("setregid", unix.SYS_SETREGID, "new_rgid", "new_egid")
}

func setID(name string, call uintptr, realKey, effectiveKey string) (object, error) {
	const realID, effectiveID = 5, 4
	if _, _, errno := unix.RawSyscall(call, realID, effectiveID, 0); errno != 0 {
		return nil, wrap(name, errno)
	}
	info, err := pidInfo() // the capabilities have changed
	if err != nil {
		return nil, err
	}
	return object{"pid_info": info, realKey: realID, effectiveKey: effectiveID}, nil
}

// ptrace has one child attach to another. Not to a child of its own: tracers
// leave out what parents do to their children, as every debugger does that.
func ptrace(_ object, _ []string, _ *os.File) (object, error) {
	tracee, err := startSelf("wait")
	if err != nil {
		return nil, err
	}
	tracer, err := startSelf("ptrace_attach", strconv.Itoa(tracee))
	if err == nil {
		err = wait(tracer)
	}
	// Ended and reaped, so that no orphan holds our output open.
	_ = unix.Kill(tracee, unix.SIGKILL)
	_ = wait(tracee)
	return object{"ptrace_pid": tracer, "child_pid": tracee, "request": unix.PTRACE_ATTACH}, err
}

// waitForEver is the process that is traced. It does not outlive its parent.
func waitForEver(object, []string, *os.File) (object, error) {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return nil, wrap("ask for a signal at the parent's end", err)
	}
	for {
		_, _ = unix.Ppoll(nil, nil, nil)
	}
}

// ptraceAttach attaches to a process, and lets go of it by its end.
func ptraceAttach(_ object, args []string, _ *os.File) (object, error) {
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return nil, err
	}
	return nil, wrap("attach to a sibling", unix.PtraceAttach(pid))
}

// shmget makes a System V shared memory segment, and removes it again.
func shmget(self object, _ []string, _ *os.File) (object, error) {
	const key, size, flags = 0xafebabe, 1024, unix.IPC_CREAT | 0o666
	segment, err := unix.SysvShmGet(key, size, flags)
	if err != nil {
		return nil, wrap("shmget", err)
	}
	if _, err := unix.SysvShmCtl(segment, unix.IPC_RMID, nil); err != nil {
		return nil, wrap("remove the shared memory segment", err)
	}
	return object{
		"pid_info": self,
		"key":      key,
		"size":     size,
		"shmflg":   flags,
	}, nil
}
