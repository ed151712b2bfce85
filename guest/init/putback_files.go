package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// emptied are the directories of whose entries only those stay that were there
// before the first program.
var emptied = []string{"/sys/fs/bpf", "/sys/kernel/tracing/instances", "/tmp", "/var/tmp", "/dev/shm", "/run"}

// workplaces are the directories of the root file system in which programs write:
// the root, root's home, theirs, and those that have files of the payload.
func workplaces(programs []wire.Program) (dirs []string) {
	all := []string{"/", "/root"}
	for _, p := range programs {
		all = append(all, path.Clean("/"+p.Dir))
	}
	var root, st unix.Stat_t
	_ = unix.Stat("/", &root)
	for _, dir := range append(all, placed...) {
		// Not below a mount, such as that of /proc.
		own := strings.HasPrefix(dir+"/", wire.ModulesDir+"/") // init brings modules on demand
		if !own && unix.Stat(dir, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Dev == root.Dev {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// watch remembers what is in directories.
func (s *system) watch(dirs ...[]string) {
	s.dirs = slices.Concat(dirs...)
	for _, dir := range s.dirs {
		for _, e := range below(dir) {
			if e != collectDir {
				s.entries[e] = true
			}
		}
	}
}

// empty removes what is new in a directory.
func (s *system) empty(dir string) {
	const most = 3 // that are named
	n := 0
	for _, e := range below(dir) {
		if s.entries[e] || e == collectDir {
			continue
		}
		err := os.RemoveAll(e)
		if n++; n <= most || err != nil {
			s.note(err, "%s", e)
		}
	}
	if n > most {
		s.note(nil, "%d more in %s", n-most, dir)
	}
}

// placed are the paths of what came for the guest's root: the payload's files and
// their directories, and init's own.
var placed []string

// programFiles are the files that came, with what changes when someone writes to
// them.
func programFiles() map[string]string {
	stats := map[string]string{}
	for _, p := range append([]string{wire.TestrunnerPath, wire.JobPath}, placed...) {
		var st unix.Stat_t
		if unix.Lstat(p, &st) != nil {
			continue
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG, unix.S_IFLNK: // no device: who writes to one changes it
			stats[p] = fmt.Sprint(st.Ino, st.Size, st.Mode, st.Mtim, st.Ctim)
		}
	}
	return stats
}

// missing notes what of the payload's files is not as it was, and what is gone.
func (s *system) missing() {
	const most = 3 // that are named
	var changed []string
	now := programFiles()
	for f, was := range s.files {
		if now[f] != was {
			changed = append(changed, f)
		}
	}
	for e := range s.entries {
		if _, err := os.Lstat(e); errors.Is(err, fs.ErrNotExist) {
			changed = append(changed, e)
		}
	}
	slices.Sort(changed)
	changed = slices.Compact(changed)
	for _, f := range changed[:min(len(changed), most)] {
		s.spoil(f + " is not what it was")
	}
	if n := len(changed) - most; n > 0 {
		s.spoil(fmt.Sprintf("%d more files are not what they were", n))
	}
}
