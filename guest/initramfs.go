// Package guest builds what runs inside a VM: the initramfs with init, and the
// archive with the payload that init runs.
//
// A kernel unpacks concatenated cpio archives one after the other, so the two
// are built apart: the base is the same for every run of this version, the
// payload for every kernel of a run.
package guest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// File is a file of the guest.
type File struct {
	Path string      // absolute and clean
	Mode fs.FileMode // permission bits
	Data []byte

	Source string // path on the host; "" for a file that is not one of the user's
}

// Payload is what a VM shall run.
type Payload struct {
	Job   wire.Job
	Files []File
	// Modules are the kernel modules that the payload can use where they are
	// not built in, such as "overlay". WriteModules makes their archive, one
	// for each kernel.
	Modules []string
	// Targets are the sections of the payload's BPF programs, such as
	// "fentry/vfs_unlink", as Targets finds them.
	Targets []string
	// SkipsPass says that a kernel on which every test is skipped has passed,
	// as its user asked for.
	SkipsPass bool
	// Notes and Warnings are for the user to read before anything boots, each a
	// line.
	Notes, Warnings []string

	// Root is the root file system that it runs in, as the user calls it, and
	// RootDigest that of its content; "" for none.
	Root, RootDigest string
	// OnDemand are modules of the kernel that are loaded when something asks for
	// them.
	OnDemand OnDemand
	// Own are modules that the payload's user built, as AddOwnModule adds them.
	Own []OwnModule

	covered bool   // it is a Go test binary that was built with -cover
	here    string // working directory that AddHere brought; "" for none

	selectors map[string]selector // by the program's name; "" if it is the only one
}

// Module is a kernel module, decompressed.
type Module struct {
	Name string
	Data []byte
}

// WriteBase writes the archive that holds init and the directories and nodes
// that a kernel wants to find. The same bytes come out for the same init.
func WriteBase(w io.Writer, init []byte) error {
	a := archive{w: cpio.Newc.Writer(w)}
	for _, d := range []string{"dev", "proc", "sys", "tmp", "run", "root"} {
		a.add(cpio.Directory(d, 0o755))
	}
	// The kernel opens it as init's standard input and output, before any
	// file system but the rootfs is there.
	a.add(cpio.CharDev("dev/console", 0o600, 5, 1))
	a.file("init", init, 0o755)
	return a.close()
}

// WritePayload writes the archive that holds a payload and its job. The same
// bytes come out for the same payload, in whatever order its files stand.
func WritePayload(w io.Writer, p Payload) error {
	job, err := json.Marshal(p.Job)
	if err != nil {
		return fmt.Errorf("encode the job: %w", err)
	}
	files := slices.Clone(p.Files)
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	// The last of all: a kernel that runs out of memory on the way goes on with the
	// files that it has, and init knows by this one that there are all.
	files = append(files, File{Path: wire.JobPath, Mode: 0o644, Data: job})

	a := archive{w: cpio.Newc.Writer(w)}
	made := map[string]bool{"/": true}
	for i, f := range files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" || strings.ContainsAny(f.Path, "\x00\n") {
			return fmt.Errorf("file %q: want a clean absolute path", f.Path)
		}
		if i > 0 && files[i-1].Path == f.Path || f.Path == wire.JobPath && i < len(files)-1 {
			return fmt.Errorf("file %q stands twice in the payload", f.Path)
		}
		if f.Path == "/init" {
			return fmt.Errorf("file %q would replace init", f.Path)
		}
		a.parents(made, f.Path)
		if f.Mode.IsDir() {
			made[f.Path] = true // what is in it has a longer path, and comes later
			a.add(cpio.Directory(name(f.Path), unixMode(f.Mode)))
			continue
		}
		a.file(f.Path, f.Data, unixMode(f.Mode))
	}
	return a.close()
}

// WriteJob writes an archive with a job alone: behind a payload's it takes the place
// of that one's.
func WriteJob(w io.Writer, j wire.Job) error {
	b, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("encode the job: %w", err)
	}
	a := archive{w: cpio.Newc.Writer(w)}
	a.file(wire.JobPath, b, 0o644)
	return a.close()
}

// unixMode is the lower 12 bits of a mode as chmod(2) has them.
func unixMode(m fs.FileMode) uint64 {
	bits := uint64(m.Perm())
	for _, b := range []struct {
		has fs.FileMode
		bit uint64
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&b.has != 0 {
			bits |= b.bit
		}
	}
	return bits
}

// ReadsConfig says whether programs of the payload may ask for the options that
// the kernel was built with, as libbpf's __kconfig does.
func (p Payload) ReadsConfig() bool {
	return slices.ContainsFunc(p.Files, func(f File) bool { return bytes.Contains(f.Data, []byte(".kconfig\x00")) })
}

// ConfigPath is where loaders look for the options that a kernel was built with.
func ConfigPath(release string) string { return "/boot/config-" + release }

// WriteModules writes the archive with a kernel's modules, which init loads in
// the order they stand in.
func WriteModules(w io.Writer, modules []Module, files ...File) error {
	a := archive{w: cpio.Newc.Writer(w)}
	made := map[string]bool{"/": true}
	a.add(cpio.Directory(name(wire.ModulesDir), 0o755))
	made[wire.ModulesDir] = true
	for i, m := range modules {
		a.file(fmt.Sprintf("%s/%03d-%s.ko", wire.ModulesDir, i, m.Name), m.Data, 0o644)
	}
	for _, f := range files { // the last may be that at wire.OnDemandPath
		a.parents(made, f.Path)
		a.file(f.Path, f.Data, uint64(f.Mode.Perm()))
	}
	return a.close()
}

func name(p string) string { return strings.TrimPrefix(p, "/") }

// archive numbers inodes in the order of its records, so that the bytes depend
// on nothing else, and keeps the first error.
type archive struct {
	w   cpio.RecordWriter
	ino uint64
	err error
}

func (a *archive) add(r cpio.Record) {
	if a.err != nil {
		return
	}
	a.ino++
	r.Ino, r.MTime, r.NLink = a.ino, 0, 1
	if err := a.w.WriteRecord(r); err != nil {
		a.err = fmt.Errorf("write %s to the archive: %w", r.Name, err)
	}
}

// file adds a file without copying what is in it, as [cpio.StaticFile] would.
func (a *archive) file(p string, data []byte, mode uint64) {
	a.add(cpio.StaticRecord(data, cpio.Info{Name: name(p), Mode: cpio.S_IFREG | mode}))
}

// parents writes the directories above p: the kernel passes over a file whose
// directories have no records before it.
func (a *archive) parents(made map[string]bool, p string) {
	dir := path.Dir(p)
	if made[dir] {
		return
	}
	a.parents(made, dir)
	made[dir] = true
	a.add(cpio.Directory(name(dir), 0o755))
}

func (a *archive) close() error {
	a.add(cpio.TrailerRecord)
	return a.err
}

// Initramfs returns the base and the payload as one initramfs. A further
// archive, such as WriteModules makes, can be appended to it.
func Initramfs(init []byte, p Payload) ([]byte, error) {
	var b bytes.Buffer
	if err := WriteInitramfs(&b, init, p); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// WriteInitramfs writes what Initramfs returns. Both archives end where the
// kernel looks for the next one, at a multiple of four bytes.
func WriteInitramfs(w io.Writer, init []byte, p Payload) error {
	return errors.Join(WriteBase(w, init), WritePayload(w, p))
}

// HandOver tells a restored VM's init of an archive of size bytes that
// WritePayload or WriteModules wrote.
func HandOver(archive io.ReaderAt, size int64) (wire.HandoverPackage, error) {
	p := wire.HandoverPackage{Size: size}
	records := cpio.Newc.Reader(io.NewSectionReader(archive, 0, size))
	if r, ok := records.(cpio.EOFReader); ok { // it takes an archive that is cut for one that ends
		records = r.RecordReader
	}
	for {
		rec, err := records.ReadRecord()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return p, fmt.Errorf("read the archive: %w", err)
		}
		if rec.Name == cpio.Trailer {
			break
		}
		if len(p.Later.Name) > 0 {
			return p, fmt.Errorf("read the archive: %s is not its last file", wire.OnDemandPath)
		}
		f := wire.HandoverFile{Name: []byte(rec.Name), Mode: uint32(rec.Mode), Offset: rec.FilePos, Size: int64(rec.FileSize)}
		if "/"+rec.Name == wire.OnDemandPath {
			p.Later = f
			continue
		}
		p.Files = append(p.Files, f)
	}
	sum := xxhash.New()
	if _, err := io.Copy(sum, io.NewSectionReader(archive, 0, p.End())); err != nil {
		return p, fmt.Errorf("read the archive: %w", err)
	}
	p.Sum = sum.Sum64()
	if p.Later.Size > 0 {
		if _, err := io.Copy(sum, io.NewSectionReader(archive, p.End(), p.Later.Size)); err != nil {
			return p, fmt.Errorf("read the archive: %w", err)
		}
		p.LaterSum = sum.Sum64()
	}
	return p, nil
}
