package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// forkExit forks a child that exits.
func forkExit([]string, *os.File) (object, error) {
	info, err := pidInfo()
	if err != nil {
		return nil, err
	}
	c, err := fork(&script{})
	if err != nil {
		return nil, err
	}
	return info, c.wait()
}

// marker is forkExit that tells the child's pid as well. testrunner runs it
// last: events about these processes come after all others.
func marker([]string, *os.File) (object, error) {
	info, err := pidInfo()
	if err != nil {
		return nil, err
	}
	c, err := fork(&script{})
	if err != nil {
		return nil, err
	}
	return info.num("child_pid", int64(c.pid)), c.wait()
}

// forkExec takes capabilities away, so that the fork's event can be told from
// others, and forks a child that executes another program, by which root gets
// them all back.
func forkExec([]string, *os.File) (object, error) {
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
	return object{}.
		object("parent_info", parent).
		num("child_pid", int64(c.pid)).
		flag("is_setuid", false).
		flag("is_setgid", false).
		flag("is_memfd", false).
		num("ruid", int64(ruid)).
		num("euid", int64(euid)).
		num("suid", int64(suid)).
		num("rgid", int64(rgid)).
		num("egid", int64(egid)).
		num("sgid", int64(sgid)), c.wait()
}

// setreuid and setregid change the ids of this thread only. The functions of
// package syscall do it on all threads, as C libraries do, and would make one
// event each.
func setreuid([]string, *os.File) (object, error) {
	return setID("setreuid", unix.SYS_SETREUID, "new_ruid", "new_euid")
}

func setregid([]string, *os.File) (object, error) {
	return setID("setregid", unix.SYS_SETREGID, "new_rgid", "new_egid")
}

func setID(name string, call uintptr, realKey, effectiveKey string) (object, error) {
	const realID, effectiveID = 5, 4
	if _, _, errno := unix.RawSyscall(call, realID, effectiveID, 0); errno != 0 {
		return nil, wrap(name, errno)
	}
	info, err := pidInfo()
	if err != nil {
		return nil, err
	}
	return object{}.object("pid_info", info).num(realKey, realID).num(effectiveKey, effectiveID), nil
}

// ptrace attaches to a child. The child waits without end, but not beyond its
// parent's.
func ptrace([]string, *os.File) (object, error) {
	var s script
	s.do("ask for a signal at the parent's end", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	s.do("wait", unix.SYS_PPOLL, 0, 0, 0, 0)
	c, err := fork(&s)
	if err != nil {
		return nil, err
	}
	if err := unix.PtraceAttach(c.pid); err != nil {
		c.kill()
		return nil, wrap("attach to the child", err)
	}
	did := object{}.
		num("ptrace_pid", int64(unix.Gettid())).
		num("child_pid", int64(c.pid)).
		num("request", unix.PTRACE_ATTACH)
	return did, c.kill()
}

// shmget makes a System V shared memory segment, and removes it again.
func shmget([]string, *os.File) (object, error) {
	const key, size, flags = 0xafebabe, 1024, unix.IPC_CREAT | 0o666
	info, err := pidInfo()
	if err != nil {
		return nil, err
	}
	segment, err := unix.SysvShmGet(key, size, flags)
	if err != nil {
		return nil, wrap("shmget", err)
	}
	if _, err := unix.SysvShmCtl(segment, unix.IPC_RMID, nil); err != nil {
		return nil, wrap("remove the shared memory segment", err)
	}
	return object{}.object("pid_info", info).num("key", key).num("size", size).num("shmflg", flags), nil
}
