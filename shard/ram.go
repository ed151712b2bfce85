package shard

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// The memory of saved VMs is kept unpacked too, where Runner.KeepRAM asks for it:
// QEMU maps it as it is, and the guest has those pages that it uses. It is some
// 90 MiB for a VM, so there is a limit to all of it; what is full stays so until
// something was of no use for a day.
const (
	ramDir  = "ram"
	maxRAM  = 1 << 30 // bytes of disk
	usedRAM = 24 * time.Hour
)

// memory makes a file for a saved VM's memory, and returns it with what unpacks
// the memory into it.
func (w *warmBoots) memory(vm *savedVM, m qemu.Machine) (*os.File, func() error, error) {
	unpack := func(f *os.File) error { return unpackRAM(f, bytes.NewReader(vm.packed), m.RAMSize()) }
	if f, keep := w.newKeptRAM(vm); f != nil {
		if err := f.Truncate(m.RAMSize()); err == nil {
			return f, func() error { return keep(unpack(f)) }, nil
		}
		_ = keep(errNoRoom)
		f.Close()
	}
	f, err := m.NewRAM(w.r.Scratch)
	return f, func() error { return unpack(f) }, err
}

var errNoRoom = errors.New("there is no room")

func (w *warmBoots) ramPath(vm *savedVM) (dir, name string) {
	return filepath.Join(w.r.Cache.Dir(), ramDir), vm.head.Key[:32]
}

// keptRAM returns the memory that is in the cache, or nil.
func (w *warmBoots) keptRAM(vm *savedVM) *os.File {
	if !w.r.KeepRAM || w.r.Cache == nil {
		return nil
	}
	dir, name := w.ramPath(vm)
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_RDWR, 0) // QEMU wants to open it for writing, and does not write
	if err != nil {
		return nil
	}
	var of string
	if id := ramIdentity(f); id == "" || !w.r.Cache.Recall("ram-"+name, id, &of) || of != vm.head.RAMSum {
		f.Close()
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(path, now, time.Time{}) // only the time of access: the other is part of what it is known by
	return f
}

// newKeptRAM makes a file for memory in the cache, where it is to be kept and
// there is room, and returns it with what keeps or removes it.
func (w *warmBoots) newKeptRAM(vm *savedVM) (*os.File, func(error) error) {
	if !w.r.KeepRAM || w.r.Cache == nil {
		return nil, nil
	}
	dir, name := w.ramPath(vm)
	if os.MkdirAll(dir, 0o755) != nil || makeRoom(dir, maxRAM) != nil {
		return nil, nil
	}
	f, err := os.CreateTemp(dir, ".tmp-*")
	if err != nil {
		return nil, nil
	}
	return f, func(err error) error {
		// What is not kept serves this once.
		if err != nil || os.Rename(f.Name(), filepath.Join(dir, name)) != nil {
			os.Remove(f.Name())
		} else {
			_ = w.r.Cache.Remember("ram-"+name, ramIdentity(f), vm.head.RAMSum)
		}
		return err
	}
}

// ramIdentity names a file as it is, on this boot of the machine: after a crash
// it may have its size and times, and not its bytes.
func ramIdentity(f *os.File) string {
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || !ok {
		return ""
	}
	b, err := json.Marshal([]any{uint64(sys.Dev), sys.Ino, st.Size(), st.ModTime().UnixNano(), string(bytes.TrimSpace(boot))})
	if err != nil {
		return ""
	}
	return string(b)
}

// makeRoom removes what was not used for long, and says whether there is room
// for one more within limit, in bytes.
func makeRoom(dir string, limit int64) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var sum, most int64
	for _, e := range list {
		info, err := e.Info()
		if err != nil {
			continue
		}
		sys, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			continue
		}
		if time.Since(time.Unix(sys.Atim.Unix())) > usedRAM {
			_ = os.Remove(filepath.Join(dir, e.Name())) // a VM that has it goes on
			continue
		}
		sum += 512 * sys.Blocks
		most = max(most, 512*sys.Blocks)
	}
	if sum+max(most, 128<<20) > limit {
		return errNoRoom
	}
	return nil
}
