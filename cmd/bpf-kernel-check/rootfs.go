package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard"
	"github.com/elastic/bpf-kernel-check/shard/rootfs"
)

// userRoot is the root file system that a payload runs in: one of a spec, this
// machine's, or none.
type userRoot struct {
	*rootfs.Root
	host bool
}

func (r userRoot) given() bool { return r.Root != nil || r.host }

// apply gives the guests of a run the root.
func (r userRoot) apply(c *shard.Config) {
	c.HostRoot = r.host
	switch {
	case r.host:
		c.Payload.Root = "this machine"
	case r.Root != nil:
		c.Root, c.RootUnpacked = r.Root, r.Unpacked
		c.Payload.Root, c.Payload.RootDigest = report.Redact(r.Spec), r.Digest
	}
}

// openRoot opens the root file system that the flags name. arch is the --arch that
// was given, if any.
func (c *command) openRoot(ctx context.Context, o *payloadOptions, arch string) (userRoot, error) {
	r := userRoot{host: o.hostRoot}
	if o.rootfs == "" {
		return r, nil
	}
	cache, err := c.openCache()
	if err != nil {
		return r, err
	}
	arch = cmp.Or(arch, payloadArch(o.inputs()))
	if r.Root, err = rootfs.Open(ctx, cache, o.rootfs, arch); err != nil {
		return r, err
	}
	if r.Arch != "" && r.Arch != arch {
		return r, usagef("--rootfs %q is for %s, and the payload for %s: give the root file system of one that is, or --arch %s", report.Redact(o.rootfs), r.Arch, arch, r.Arch)
	}
	return r, nil
}

// maxInstalled bounds a program of a root file system, in bytes: its bytes are
// looked at.
const maxInstalled = 1 << 30

// readFile reads a file of the root.
func (r userRoot) readFile(name string) ([]byte, error) {
	if r.Root != nil {
		return r.ReadFile(name, maxInstalled)
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("it is not a regular file")}
	}
	return os.ReadFile(name)
}

// hasDir says whether the root has a directory that the guest shows.
func (r userRoot) hasDir(dir string) bool {
	switch {
	case !r.given() || !path.IsAbs(dir) || guest.Reserved(dir) != "":
		return false
	case r.Root != nil:
		return r.IsDir(dir)
	}
	info, err := os.Stat(dir)
	return err == nil && info.IsDir()
}

// inRoot says whether a program's word means one of the root file system: a bare
// name or an absolute path. Others are files of this machine, as are those that
// the guest would not show of it.
func (r userRoot) inRoot(word string) bool {
	return r.given() && (!strings.Contains(word, "/") || path.IsAbs(word) && (r.Root != nil || guest.Reserved(path.Clean(word)) == ""))
}

// find returns the path and the bytes of a program of the root.
func (r userRoot) find(word string) (string, []byte, error) {
	dirs, name := guest.Path(), word
	if strings.Contains(word, "/") {
		dirs, name = []string{path.Dir(word)}, path.Base(word)
		if why := guest.Reserved(path.Clean(word)); why != "" {
			return "", nil, usagef("--test %q: %s %s: want one of another directory", word, word, why)
		}
	} else if r.host {
		if found, err := exec.LookPath(word); err == nil && path.IsAbs(found) {
			dirs = []string{path.Dir(found)}
		}
	}
	var why error
	for _, dir := range dirs {
		b, err := r.readFile(path.Join(dir, name))
		if err == nil {
			return path.Join(dir, name), b, nil
		}
		if why == nil && !errors.Is(err, fs.ErrNotExist) {
			why = err
		}
	}
	where := "this machine"
	if r.Root != nil {
		where = fmt.Sprintf("the root file system %q", report.Redact(r.Spec))
	}
	if why != nil {
		return "", nil, usagef("--test %q: %s: %w", word, where, why)
	}
	return "", nil, usagef("--test %q: %s has no such program in %s", word, where, strings.Join(dirs, ", "))
}

// program returns the bytes of the program that a word of --test means, and sets
// the payload's path and architecture. asked is the --arch that was given, if any.
func (r userRoot) program(p *namedPayload, word, asked string) (b []byte, err error) {
	p.path = word
	if !r.given() {
		if err := noSuchProgram(word); err != nil {
			return nil, err
		}
		if p.arch, err = programArch(word, guest.ExecutableArch(word), asked); err != nil {
			return nil, err
		}
		return guest.ReadExecutable(word, p.arch)
	}
	if r.inRoot(word) {
		p.path, b, err = r.find(word)
	} else if b, err = os.ReadFile(word); err != nil {
		err = &guest.PayloadError{Path: word, Reason: fmt.Sprintf("cannot be read: %v: give the path of a program", errors.Unwrap(err))}
	}
	if err != nil {
		return nil, err
	}
	is, err := guest.CheckProgram(p.path, b)
	if err != nil {
		return nil, err
	}
	if r.Root != nil {
		asked = cmp.Or(asked, r.Arch)
	}
	p.arch, err = programArch(p.path, is, asked)
	return b, err
}

// noSuchProgram says what to do about a bare name where there is no root file
// system to find it in.
func noSuchProgram(word string) error {
	if strings.Contains(word, "/") || exists(word) {
		return nil
	}
	return &guest.PayloadError{Path: word, Reason: "does not exist: give the path of a program, or a root file system that has " + word + ", such as --rootfs debian:bookworm"}
}
