package main

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// system is what a program finds in the guest, as far as init can see that one
// before it left something behind, and can put it back.
type system struct {
	mounts   []mountPoint
	dirs     []string          // emptied, and where files of the payload and programs are
	entries  map[string]bool   // paths in dirs, and control groups
	values   map[string]string // of settings and of files in /proc/sys
	sysctls  *sysctlWatch
	network  map[string]bool // keys of what netlink lists
	links    []uint32        // indices of network interfaces
	programs map[uint32]bool // ids of BPF programs
	files    map[string]string
	left     []string
	spoiled  string // why nothing can run as if alone after the program; "": it can
}

// settings are files that say what a tracer, or a program that is not by itself,
// has set: lists of probes come before what lets go of them.
var settings = []string{
	"/sys/kernel/tracing/current_tracer", "/sys/kernel/tracing/set_event", "/sys/kernel/tracing/set_ftrace_filter", "/sys/kernel/tracing/tracing_on",
	"/sys/kernel/tracing/kprobe_events", "/sys/kernel/tracing/uprobe_events", "/sys/fs/cgroup/cgroup.subtree_control",
	"/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname",
}

// observe looks at the system before the first program.
func observe(programs []wire.Program) *system {
	s := &system{mounts: mountPoints(), entries: map[string]bool{}, values: map[string]string{}, files: programFiles()}
	for _, dir := range cgroups() {
		s.entries[dir] = true
	}
	s.watch(emptied, workplaces(programs))
	for _, f := range settings {
		if b, err := os.ReadFile(f); err == nil {
			s.values[f] = string(b)
		}
	}
	s.sysctls = watchSysctls(s.values)
	s.network, s.links = map[string]bool{}, nil
	for _, kind := range networkKinds {
		for _, o := range kind.list() {
			s.network[o.key] = true
			if kind.links {
				s.links = append(s.links, o.index)
			}
		}
	}
	s.programs = map[uint32]bool{}
	for _, id := range bpfPrograms() {
		s.programs[id] = true
	}
	return s
}

// putBack puts back what a program left behind, and names it.
func (s *system) putBack() {
	if s == nil { // nothing runs after it
		return
	}
	s.left, s.spoiled = nil, ""
	s.putBackMounts()
	for _, f := range below("/sys/block") {
		if _, err := os.Stat(f + "/loop/backing_file"); err == nil {
			s.note(detachLoop("/dev/"+filepath.Base(f)), "loop device %s", filepath.Base(f))
		}
	}
	if s.spoiled == "" { // no mount that stays leads elsewhere
		for _, dir := range s.dirs {
			s.empty(dir)
		}
	}
	s.putBackNetwork()
	if slices.ContainsFunc(bpfPrograms(), func(id uint32) bool { return !s.programs[id] }) {
		s.detachPrograms()
	}
	dirs := cgroups()
	slices.Reverse(dirs) // the innermost first
	for _, dir := range dirs {
		if !s.entries[dir] {
			s.note(removeCgroup(dir), "cgroup %s", strings.TrimPrefix(dir, cgroupRoot))
		}
	}
	changed, all := s.sysctls.changed()
	if all { // more than the kernel could tell of
		for f := range s.values {
			changed = append(changed, f)
		}
	}
	slices.Sort(changed)
	for _, f := range append(slices.Compact(changed), settings...) {
		s.putBackValue(f)
	}
	_, _ = s.sysctls.changed() // init's own
	s.missing()
}

// result is what the program left behind, one line each, and why nothing can run
// after it as if alone, "" if something can.
func (s *system) result() (left []string, spoiled string) {
	if s == nil {
		return nil, ""
	}
	s.stillLoaded()
	return s.left, s.spoiled
}

// note names what was left behind, and why it still is where err is not nil.
func (s *system) note(err error, format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if err != nil {
		s.spoil(line + ", which stays: " + err.Error())
		return
	}
	s.left = append(s.left, line)
}

// spoil names what cannot be put back, so that the VM ends.
func (s *system) spoil(line string) {
	s.left, s.spoiled = append(s.left, line), cmp.Or(s.spoiled, line)
}

// mountPoint is a line of mountinfo. Another mount can get the id of one that went.
type mountPoint struct{ id, device, kind, path string }

func mountPoints() (list []mountPoint) {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	b, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(b)) {
		// id, parent, device, root, mount point, ... - type
		_, kind, _ := strings.Cut(line, " - ")
		if f := strings.Fields(line); len(f) > 4 {
			list = append(list, mountPoint{f[0], f[2], strings.Fields(kind + " -")[0], unescape.Replace(f[4])})
		}
	}
	return list
}

// putBackMounts unmounts what came, the last first. One that went cannot be put
// back.
func (s *system) putBackMounts() {
	// The kernel mounts the second when someone looks for it.
	came := func(m mountPoint) bool {
		return !slices.Contains(s.mounts, m) && m.path != "/sys/kernel/debug/tracing"
	}
	failed := map[mountPoint]error{}
	first := mountPoints()
	for _, m := range slices.Backward(first) {
		if came(m) {
			failed[m] = unix.Unmount(m.path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
	}
	now := mountPoints()
	for _, m := range slices.Backward(first) {
		err := failed[m]
		if !slices.Contains(now, m) {
			err = nil // gone with another
		}
		if came(m) {
			s.note(err, "mount on %s", m.path)
		}
	}
	for _, m := range s.mounts {
		if !slices.Contains(now, m) {
			s.spoil(m.path + " is not mounted any more")
		}
	}
}

func detachLoop(device string) error {
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	defer f.Close()
	if err = unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0); errors.Is(err, unix.ENXIO) {
		return nil // it went with its mount
	}
	return err
}

const cgroupRoot = "/sys/fs/cgroup"

// cgroups are the directories of all hierarchies.
func cgroups() (dirs []string) {
	_ = filepath.WalkDir(cgroupRoot, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, p)
		}
		return nil
	})
	return dirs
}

// removeCgroup waits for the processes that were killed in it to be gone.
func removeCgroup(dir string) error {
	var err error
	for range 200 {
		if err = unix.Rmdir(dir); !errors.Is(err, unix.EBUSY) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// putBackValue writes what a file held.
func (s *system) putBackValue(file string) {
	was, ok := s.values[file]
	b, err := os.ReadFile(file)
	if now := string(b); !ok || err != nil || now == was {
		return
	}
	write := was
	switch base := filepath.Base(file); base {
	case "kprobe_events", "uprobe_events":
		write = goneProbes(was, string(b))
	case "cgroup.subtree_control":
		write = ""
		for _, c := range strings.Fields(string(b)) {
			if !slices.Contains(strings.Fields(was), c) {
				write += "-" + c + " "
			}
		}
	case "set_ftrace_filter", "set_event":
		if strings.HasPrefix(was, "#") || base == "set_event" {
			write = "\n"
		}
	}
	flag := os.O_WRONLY | os.O_TRUNC
	if strings.HasSuffix(file, "probe_events") {
		flag = os.O_WRONLY | os.O_APPEND
	}
	f, err := os.OpenFile(file, flag, 0)
	if err == nil {
		_, err = f.WriteString(write)
		err = errors.Join(err, f.Close())
	}
	if b, rerr := os.ReadFile(file); err == nil && rerr == nil && string(b) != was {
		err = fmt.Errorf("it is %.100q, and was %.100q", strings.TrimSpace(string(b)), strings.TrimSpace(was))
	}
	s.note(err, "%s changed", file)
}

// goneProbes are the commands that remove the probes of a list that was shorter.
func goneProbes(was, now string) string {
	var b strings.Builder
	for line := range strings.Lines(now) {
		// p:group/name address
		if _, name, ok := strings.Cut(strings.Fields(line + " x")[0], ":"); ok && !strings.Contains(was, line) {
			b.WriteString("-:" + name + "\n")
		}
	}
	return b.String()
}

// sysctlWatch tells which files of /proc/sys are written to: to read them all
// takes an emulated processor a quarter of a second.
type sysctlWatch struct {
	fd   int
	dirs map[uint32]string
}

// watchSysctls keeps the values that there are.
func watchSysctls(values map[string]string) *sysctlWatch {
	w := &sysctlWatch{dirs: map[uint32]string{}}
	var err error
	if w.fd, err = unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC); err != nil {
		w.fd = -1
	}
	_ = filepath.WalkDir("/proc/sys", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
		case d.IsDir() && strings.HasPrefix(p, "/proc/sys/fs/binfmt_misc"):
			return fs.SkipDir
		case d.IsDir():
			if wd, err := unix.InotifyAddWatch(w.fd, p, unix.IN_MODIFY); err == nil {
				w.dirs[uint32(wd)] = p
			}
		default:
			if info, err := d.Info(); err == nil && info.Mode()&0o222 != 0 && info.Mode()&0o444 != 0 {
				if b, err := os.ReadFile(p); err == nil {
					values[p] = string(b)
				}
			}
		}
		return nil
	})
	return w
}

// changed are the files that were written to since it was asked last. all says that
// it can be any.
func (w *sysctlWatch) changed() (files []string, all bool) {
	if w.fd < 0 || len(w.dirs) == 0 {
		return nil, true
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(w.fd, buf)
		if err != nil || n <= 0 {
			return files, all
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			// wd, mask, cookie, length of the name
			dir, mask := w.dirs[binary.NativeEndian.Uint32(b)], binary.NativeEndian.Uint32(b[4:])
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			if end > len(b) {
				break
			}
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:end]), "\x00")
			b = b[end:]
			if all = all || mask&unix.IN_Q_OVERFLOW != 0; dir != "" && name != "" {
				files = append(files, dir+"/"+name)
			}
		}
	}
}
