package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// forkExit forks a child that exits.
func forkExit(self object, _ []string, _ *os.File) (object, error) {
	c, err := fork(&script{})
	if err != nil {
		return nil, err
	}
	return self, c.wait()
}

// marker is forkExit that tells the child's pid as well. testrunner runs it
// last: events about these processes come after all others.
func marker(self object, _ []string, _ *os.File) (object, error) {
	c, err := fork(&script{})
	if err != nil {
		return nil, err
	}
	self["child_pid"] = c.pid
	return self, c.wait()
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
	var s script
	s.do("execute ./do_nothing", unix.SYS_EXECVE,
		s.text("./do_nothing"),
		s.texts("./do_nothing"),
		s.texts("TEST_ENV_KEY1=TEST_ENV_VAL1", "TEST_ENV_KEY2=TEST_ENV_VAL2"))
	ruid, euid, suid := unix.Getresuid()
	rgid, egid, sgid := unix.Getresgid()
	c, err := fork(&s)
	if err != nil {
		return nil, err
	}
	return object{
		"parent_info": parent,
		"child_pid":   c.pid,
		"is_setuid":   false,
		"is_setgid":   false,
		"is_memfd":    false,
		"ruid":        ruid,
		"euid":        euid,
		"suid":        suid,
		"rgid":        rgid,
		"egid":        egid,
		"sgid":        sgid,
	}, c.wait()
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
	// What the tracee waits for has no end, but it does not outlive its parent.
	ready, tell, err := pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	defer tell.Close()
	var waits script
	waits.do("ask for a signal at the parent's end", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	// For Yama, which otherwise allows descendants only, or CAP_SYS_PTRACE.
	waits.try(unix.SYS_PRCTL, unix.PR_SET_PTRACER, ^uintptr(0)) // PR_SET_PTRACER_ANY
	waits.do("say that it may be traced", unix.SYS_WRITE, tell.Fd(), waits.text("!"), 1)
	waits.do("wait", unix.SYS_PPOLL, 0, 0, 0, 0)
	tracee, err := fork(&waits)
	if err != nil {
		return nil, err
	}
	tell.Close()
	if _, err := ready.Read(make([]byte, 1)); err != nil { // it has ended
		if err := tracee.wait(); err != nil {
			return nil, err
		}
		return nil, wrap("wait for the process to trace", err)
	}
	var attaches script
	attaches.do("attach to a sibling", unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(tracee.pid))
	tracer, err := fork(&attaches)
	if err == nil {
		err = tracer.wait()
	}
	if err != nil {
		_ = tracee.kill()
		return nil, err
	}
	did := object{"ptrace_pid": tracer.pid, "child_pid": tracee.pid, "request": unix.PTRACE_ATTACH}
	return did, tracee.kill()
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
