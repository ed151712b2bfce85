package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Where init keeps what it collects by itself.
const (
	collectDir = "/run/collect"
	coresDir   = collectDir + "/cores"
	coreHelper = collectDir + "/core" // this program, to which the kernel pipes core dumps
)

// prepareCollect makes the directories that what is collected comes to, and
// returns the job with the environment that it needs.
func prepareCollect(job wire.Job, r *reporter) wire.Job {
	var err error
	if job.Cover == wire.CoverDir {
		job.Env = append(job.Env, "GOCOVERDIR="+wire.CoverDir)
	}
	if strings.HasPrefix(job.Cover, collectDir) || job.Cores {
		err = errors.Join(os.MkdirAll(wire.CoverDir, 0o777), os.Chmod(collectDir, 0o1777), os.Chmod(wire.CoverDir, 0o1777))
	}
	if job.Cores && err == nil {
		// A pipe: a path would mean another file to a process with a root of its
		// own. The limit has the kernel wait for the other end of it.
		err = errors.Join(os.Mkdir(coresDir, 0o700), os.Symlink("/proc/1/exe", coreHelper),
			os.WriteFile("/proc/sys/kernel/core_pipe_limit", []byte("16"), 0),
			os.WriteFile("/proc/sys/kernel/core_pattern", []byte("|"+coreHelper+" %P %e"), 0))
	}
	if err != nil {
		r.send(wire.Record{Type: wire.TypeFile, File: &wire.File{Note: "nothing can be collected: " + wire.Truncate(err.Error(), wire.MaxName)}})
	}
	return job
}

// Suffixes of core dumps that are no whole ones.
const (
	partialCore = ".part" // being written
	largeCore   = ".size" // too large: empty, of the dump's size
)

// dumpCore is what the kernel starts for a process that crashes, with its pid and
// name. It reads the dump from its standard input.
func dumpCore(args []string) {
	if len(args) < 2 { // the kernel gives both
		return
	}
	name := filepath.Join(coresDir, wire.SafeName(wire.Truncate(strings.Join(args[1:], "_"), 100))+"."+wire.SafeName(args[0])+".core.gz")
	f, err := os.Create(name + partialCore)
	if err != nil {
		return
	}
	// One after the other, so that all together keep to the limit: they are in
	// the VM's memory.
	if dir, err := os.Open(coresDir); err == nil {
		defer dir.Close()
		_ = unix.Flock(int(dir.Fd()), unix.LOCK_EX)
	}
	out := &limitWriter{w: f, left: roomForCores(coresDir)}
	n, err := pack(out, os.Stdin)
	if errors.Is(err, errNoRoom) {
		more, _ := io.Copy(io.Discard, os.Stdin)
		if f.Truncate(0) == nil && f.Truncate(n+more) == nil {
			_ = os.Rename(f.Name(), name+largeCore)
		}
	} else if err == nil && f.Close() == nil {
		_ = os.Rename(f.Name(), name)
	}
}

// roomForCores is how many bytes more of core dumps would be collected.
func roomForCores(dir string) int {
	left := wire.MaxCollectedBytes
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		if info, err := e.Info(); err == nil && !strings.HasSuffix(e.Name(), largeCore) {
			left -= int(min(info.Size(), int64(left)))
		}
	}
	return left
}

var errNoRoom = errors.New("there is no room for it")

// limitWriter fails with errNoRoom instead of writing more than it may.
type limitWriter struct {
	w    io.Writer
	left int
}

func (l *limitWriter) Write(b []byte) (int, error) {
	if len(b) > l.left {
		return 0, errNoRoom
	}
	l.left -= len(b)
	return l.w.Write(b)
}

const packBlock = 64 << 10

// pack compresses in, and returns how many bytes it read. Blocks of zeros, which
// core dumps have many of, are members of their own that need no work.
func pack(out io.Writer, in io.Reader) (n int64, err error) {
	var empty bytes.Buffer
	zw, _ := gzip.NewWriterLevel(&empty, gzip.BestSpeed) // a level that there is
	zeros := make([]byte, packBlock)
	if _, err := zw.Write(zeros); err != nil {
		return 0, err
	}
	if err := zw.Close(); err != nil {
		return 0, err
	}
	zw.Reset(out)
	open := true // an empty file has a member, too
	block := make([]byte, packBlock)
	for {
		k, rerr := io.ReadFull(in, block)
		n += int64(k)
		var err error
		switch {
		case k == packBlock && bytes.Equal(block, zeros):
			if open {
				err = zw.Close()
			}
			open = false
			if err == nil {
				_, err = out.Write(empty.Bytes())
			}
		case k > 0:
			if !open {
				zw.Reset(out)
				open = true
			}
			_, err = zw.Write(block[:k])
		}
		end := rerr == io.EOF || rerr == io.ErrUnexpectedEOF
		switch {
		case err != nil:
			return n, err
		case end && open:
			return n, zw.Close()
		case end:
			return n, nil
		case rerr != nil:
			return n, rerr
		}
	}
}

// collect sends what the job asks for. What is not sent is told: a note never
// changes a verdict.
func collect(job wire.Job, r *reporter, con *serialConsole, scale time.Duration) {
	if !job.Collects() {
		return
	}
	limit := wire.CollectTime * scale
	timer := time.NewTimer(limit)
	defer timer.Stop()
	began := time.Now()
	var budget wire.FileBudget // as the host has it
	send := func(f wire.File) {
		if budget.Take(&f) {
			r.send(wire.Record{Type: wire.TypeFile, File: &f})
		}
	}
	// A read can hang in the kernel: then the VM ends without it.
	out, stop := make(chan packed), make(chan struct{})
	defer close(stop)
	c := collector{out: out, stop: stop, left: wire.MaxCollectedBytes, raw: wire.MaxFilesSize, taken: map[string]string{}}
	go c.run(job)
	files := 0
	for {
		late := "files"
		select {
		case p, ok := <-out:
			if !ok {
				con.logf("collected %d files in %.3f s", files, time.Since(began).Seconds())
				return
			}
			if p.note != "" {
				send(wire.File{Note: p.note})
				continue
			}
			rest := p.data
			for i := 0; len(rest) > 0 && time.Since(began) < limit; i++ {
				k := min(len(rest), wire.MaxFileChunk)
				send(wire.File{Name: p.name, Chunk: i, Last: k == len(rest), Data: rest[:k], Packed: p.keep})
				rest = rest[k:]
			}
			if files++; len(rest) == 0 {
				continue
			}
			late = p.name
		case <-timer.C:
		}
		send(wire.File{Note: fmt.Sprintf("collecting took longer than %v: %s and what comes after are missing", limit, late)})
		return
	}
}

// packed is a file, or why there is none.
type packed struct {
	name string
	data []byte // gzip
	keep bool   // it stays compressed
	note string
}

// collector finds files and compresses them, within the limits.
type collector struct {
	out   chan<- packed
	stop  <-chan struct{}
	files int
	notes int
	left  int               // bytes, compressed
	raw   int64             // bytes
	taken map[string]string // paths, by their names in lower case
}

func (c *collector) run(job wire.Job) {
	defer close(c.out)
	switch job.Cover {
	case "":
	case wire.CoverDir:
		found := below(wire.CoverDir)
		if len(found) == 0 {
			c.note("coverage: the payload wrote no data: only programs that go build -cover built and that end by themselves do")
		}
		c.each(found, func(p string) error {
			return c.file(p, wire.CoverDataDir+"/"+wire.SafeName(filepath.Base(p)))
		})
	default:
		if _, err := os.Lstat(job.Cover); err != nil {
			c.note("coverage: the payload wrote no profile: %v", err)
		} else {
			_ = c.file(job.Cover, wire.CoverProfileName) // the first one
		}
	}
	for _, pattern := range job.Collect {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			c.note("%q matches nothing", pattern)
		}
		for _, p := range found {
			c.tree(p, pattern)
		}
	}
	if job.Cores {
		c.each(below(coresDir), c.core)
	}
	if n := c.notes - wire.MaxCollectedNotes; n > 0 {
		c.notes = 0
		c.note("and %d more were not collected", n)
	}
}

// below lists a directory.
func below(dir string) (found []string) {
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		found = append(found, filepath.Join(dir, e.Name()))
	}
	return found
}

// each collects files until there are too many.
func (c *collector) each(files []string, collect func(p string) error) {
	for _, p := range files {
		if err := collect(p); err != nil {
			c.note("%v", err)
			return
		}
	}
}

// send hands one on, unless nobody waits for it any more.
func (c *collector) send(p packed) {
	select {
	case c.out <- p:
	case <-c.stop:
		select {} // the VM ends
	}
}

func (c *collector) note(format string, args ...any) {
	if c.notes++; c.notes <= wire.MaxCollectedNotes {
		c.send(packed{note: wire.Truncate(fmt.Sprintf(format, args...), wire.MaxName)})
	}
}

// kernelFiles says whether a path is in one of the kernel's own file systems many
// of whose files have no end, or do something when they are read.
func kernelFiles(p string) bool {
	var st unix.Statfs_t
	if unix.Statfs(p, &st) != nil {
		return false
	}
	switch int64(st.Type) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC:
		return true
	}
	return false
}

// tree collects what a pattern matched: a file, or the files below a directory.
// The kernel's own file systems are left out, wherever they are mounted, unless
// the pattern names them.
func (c *collector) tree(root, pattern string) {
	named := pattern
	if at := strings.IndexAny(pattern, `*?[\`); at >= 0 {
		named = filepath.Dir(pattern[:at] + "x")
	}
	inKernel := kernelFiles(named)
	kernel := func(p string, d fs.DirEntry) bool {
		for _, fs := range []string{"/proc/", "/sys/"} {
			if strings.HasPrefix(p+"/", fs) && !strings.HasPrefix(pattern+"/", fs) {
				return true
			}
		}
		return !inKernel && (d.IsDir() || d.Type().IsRegular()) && kernelFiles(p)
	}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			c.note("%q: %v", p, errors.Unwrap(err))
		case kernel(p, d) || p == collectDir:
			if d.IsDir() {
				return fs.SkipDir
			}
		case d.IsDir():
		case p == wire.JobPath:
			c.note("%q is left out: it has the values of the payload's environment, which may be secrets", p)
		case !d.Type().IsRegular() && p == root:
			c.note("%q is no regular file: links are not followed", p)
		case !d.Type().IsRegular():
		default:
			return c.file(p, wire.CollectedName(p, func(lower string) bool { return c.taken[lower] != "" && c.taken[lower] != p }))
		}
		return nil
	})
	if err != nil {
		c.note("%v", err)
	}
}

// core collects a core dump that dumpCore wrote. An error says that there are too
// many files.
func (c *collector) core(p string) error {
	name, large := strings.CutSuffix(filepath.Base(p), largeCore)
	said := wire.CoresDir + "/" + name
	// A payload can write to the directory, too.
	fd, st, err := openQuietly(p)
	if err != nil {
		c.note("core dump %q: %v", name, err)
		return nil
	}
	defer unix.Close(fd)
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG || wire.CheckFileName(said) != nil:
		c.note("core dump %q: init did not write it", name)
	case large:
		c.note("core dump %s: there is no room for its %d MiB: those of one VM may have %d MiB when compressed", name, st.Size>>20, wire.MaxCollectedBytes>>20)
	case strings.HasSuffix(p, partialCore):
		c.note("core dump %s: its end is missing", name)
	case c.files >= wire.MaxCollected:
		return c.tooMany(p)
	default:
		data, err := io.ReadAll(io.LimitReader(fdReader(fd), int64(c.left)+1))
		if err == nil && len(data) > c.left {
			err = errNoRoom
		}
		if err != nil {
			c.note("core dump %s, %d bytes compressed: %v", name, st.Size, err)
			return nil
		}
		c.files, c.left = c.files+1, c.left-len(data)
		c.send(packed{name: said, data: data, keep: true})
	}
	return nil
}

// openQuietly opens a file, follows no link there, and waits for nobody, as
// package os would.
func openQuietly(p string) (fd int, st unix.Stat_t, err error) {
	fd, err = unix.Open(p, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		if err = unix.Fstat(fd, &st); err != nil {
			unix.Close(fd)
		}
	}
	return fd, st, err
}

func (c *collector) tooMany(p string) error {
	return fmt.Errorf("there are more than %d files: %q and what comes after are left out", c.files, p)
}

// file collects one file, whole or not at all. An error says that there are too
// many.
func (c *collector) file(p, name string) error {
	lower := strings.ToLower(name)
	if c.taken[lower] != "" { // two patterns match it
		return nil
	}
	if c.files >= wire.MaxCollected {
		return c.tooMany(p)
	}
	c.taken[lower] = p
	fd, st, err := openQuietly(p)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		err = errors.New("it is no regular file")
	}
	if err != nil {
		c.note("%q: %v", p, err)
		return nil
	}
	defer unix.Close(fd)
	limit := min(c.raw, wire.MaxFileSize)
	var b bytes.Buffer
	out := &limitWriter{w: &b, left: c.left}
	n, err := pack(out, io.LimitReader(fdReader(fd), limit+1))
	if err == nil && n > limit {
		err = errNoRoom
	}
	if err != nil {
		size := ""
		if st.Size > 0 {
			size = fmt.Sprintf(", %d bytes", st.Size)
		}
		c.note("%q%s: %v", p, size, err)
		return nil
	}
	c.files, c.raw, c.left = c.files+1, c.raw-n, out.left
	c.send(packed{name: name, data: b.Bytes()})
	return nil
}

// fdReader reads a file of any file system until it has nothing more to say.
type fdReader int

func (f fdReader) Read(b []byte) (int, error) {
	n, err := unix.Read(int(f), b)
	switch {
	case err == unix.EINTR:
		return 0, nil
	case err == unix.EAGAIN || err == nil && n == 0:
		return 0, io.EOF
	case err != nil:
		return 0, err
	}
	return n, nil
}
