// Package resultcache keeps the results of kernels that passed, so that a kernel
// need not be booted again when everything that went into its VM and into the
// verdict is the same to the byte, as go test does with packages. It owns the
// key, the entries in the cache and the evidence that they bring back. It does
// not decide when results may be reused: no key holds time, chance and the
// host's processor, so its caller asks only for those who want it.
package resultcache

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// MaxAge is the greatest age of a result that stands for a VM.
const MaxAge = report.MaxReuseDays * 24 * time.Hour

// ProgramDigest names the program that runs by its bytes, those that run even if
// its file was replaced since: every part of it has a say in verdicts.
func ProgramDigest(ctx context.Context) (string, error) {
	d, err := kernel.HashFile(ctx, "/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("read this program: %w", err)
	}
	return d, nil
}

func sumOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// Key is everything that a VM and its verdict are made of.
type Key struct {
	Program string // digest of this program: it unpacks the kernel and judges
	QEMU    string // version and digest
	ROMs    string // digest of the firmware that QEMU loads

	ID, Source string // entries of allowed splats are for ids
	Kernel     string // digest of the image
	Info       image.Info
	Config     string // digest; the result has facts of it
	Modules    string // digest of the archive of modules; "" for none

	Initramfs string   // digest of init, the payload and its job, with time limits
	Machine   []string // QEMU's arguments, the kernel's command line among them
	Limits    any
	Boot      string // a run with cold boots gets no result of a warm one

	ModuleNames, Targets []string
	SkipsPass            bool
	Allowed              []report.AllowEntry
	Expected             string

	Payload string // what is asked for, as guest.Payload.Digest names it
	Root    string `json:",omitempty"` // digest of the root file system
}

func (k Key) sum() string {
	b, err := json.Marshal(struct {
		Schema int
		Key
	}{schema, k})
	if err != nil { // strings and numbers always encode
		panic(err)
	}
	return sumOf(b)
}

// Config says where a run keeps its results, and whose they are.
type Config struct {
	Kernels        *kernel.Cache
	Out            string        // directory of the run's consoles and files
	MaxAge         time.Duration // of a result that is reused
	Now            func() time.Time
	RunID, HeadSHA string
	QEMU           string // path
}

// Cache finds and keeps results. The methods of a nil Cache find and keep none.
type Cache struct {
	Config
	qemu fs.FileInfo // QEMU as it was when the run began
}

// New returns the cache of a run.
func New(c Config) (*Cache, error) {
	info, err := os.Stat(c.QEMU)
	if err != nil {
		return nil, err
	}
	return &Cache{c, info}, nil
}

// Find returns the result of an earlier VM that stands for the one that key and
// ref describe, with its console and files in the output directory; nil if there
// is none. An entry that is there and of no use is removed.
func (c *Cache) Find(im *kernel.Image, ref kernel.Ref, key Key) *report.Result {
	if c == nil {
		return nil
	}
	sum := key.sum()
	file, ok := im.FindDerived(entryName(sum))
	if !ok {
		return nil
	}
	e, err := read(file)
	var k report.Result
	if err == nil {
		k, err = e.result(ref, sum, c.Now(), c.MaxAge)
	}
	if err == nil {
		err = c.restore(k, e)
	}
	if err != nil {
		// A kernel that is booted is never wrong.
		_ = im.DropDerived(entryName(sum))
		return nil
	}
	return &k
}

func read(file string) (*Entry, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxEntry+1))
	if err != nil {
		return nil, err
	}
	return Parse(b)
}

// restore writes a result's evidence. Its names are those that Check accepts.
func (c *Cache) restore(k report.Result, e *Entry) error {
	root, err := os.OpenRoot(c.Out) // no link leads out of it
	if err != nil {
		return err
	}
	defer root.Close()
	write := func(name string, b []byte) error {
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		return root.WriteFile(name, b, 0o644)
	}
	err = write(k.Console, e.Console)
	for i, name := range k.Files {
		err = errors.Join(err, write(name, e.Files[i]))
	}
	if err != nil {
		return fmt.Errorf("restore the evidence of %s: %w", k.ID, err)
	}
	return nil
}

// Keep keeps what a kernel's VM has just said, if it may stand for later ones.
// If that fails the kernel is booted again the next time.
func (c *Cache) Keep(ctx context.Context, im *kernel.Image, key Key, k report.Result) {
	if c == nil || k.Reusable() != nil || ctx.Err() != nil {
		return
	}
	if info, err := os.Stat(c.QEMU); err != nil || !os.SameFile(info, c.qemu) || info.Size() != c.qemu.Size() || !info.ModTime().Equal(c.qemu.ModTime()) {
		return // it was replaced during this run
	}
	sum := key.sum()
	e := &Entry{Schema: schema, Key: sum, Nonce: rand.Text(), At: c.Now().UTC(), RunID: c.RunID, HeadSHA: c.HeadSHA, Kernel: k}
	e.Kernel.Reproduce = "" // the next run's own
	var err error
	if e.Console, err = c.evidence(k.Console); err != nil {
		return
	}
	for _, name := range k.Files {
		b, err := c.evidence(name)
		if err != nil {
			return
		}
		e.Files = append(e.Files, b)
	}
	// It takes the place of one that was too old, or that could not be read.
	_ = im.DropDerived(entryName(sum))
	if _, err := im.Derived(ctx, c.Kernels, entryName(sum), e.Write); err == nil {
		im.KeepNewestDerived(prefix, versions)
	}
}

// evidence reads a file of the output directory.
func (c *Cache) evidence(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(c.Out, filepath.FromSlash(name)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRaw+1))
	if err == nil && len(b) > maxRaw {
		err = errors.New("it is too large to be kept")
	}
	return b, err
}
