package qemu

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"syscall"
)

// Identity names a QEMU as it is on this machine since it was started, for what
// was asked of it to be kept: its file, by times and inode, the machine's boot,
// and what bounds this process. It is "" for a program that is no ELF file: what
// a script starts in the end cannot be told.
func Identity(path string, a Arch) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	magic := make([]byte, 4)
	if _, err := io.ReadFull(f, magic); err != nil || string(magic) != "\x7fELF" {
		return ""
	}
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	mounts, err := os.Readlink("/proc/self/ns/mnt") // where firmware is looked for
	if err != nil {
		return ""
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return ""
	}
	var bounds []string // whether a filter of system calls can be set up
	for l := range bytes.Lines(status) {
		for _, field := range []string{"Uid:", "CapEff:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:"} {
			if bytes.HasPrefix(l, []byte(field)) {
				bounds = append(bounds, string(bytes.TrimSpace(l)))
			}
		}
	}
	id, err := json.Marshal([]any{
		path, uint64(sys.Dev), sys.Ino, st.Size(), st.ModTime().UnixNano(), sys.Ctim.Nano(), string(bytes.TrimSpace(boot)), mounts, bounds,
		sandbox, a.Machine, a.Firmware[TCG], a.Lean,
	})
	if err != nil {
		return ""
	}
	return string(id)
}
