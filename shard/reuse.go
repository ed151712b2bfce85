package shard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// A kernel that passed need not be booted again when everything that went into
// its VM and into the verdict is the same to the byte, as go test does with
// packages. What no key can hold is time, chance and the host's processor: so
// results get old, nothing is reused on KVM, with a network or when a kernel is
// asked for several times, and it is done only for those who ask for it.

// MaxReuse is how old a pass can be that stands for a VM.
const MaxReuse = report.MaxReuseDays * 24 * time.Hour

// NoReuse says why a runner boots every kernel whatever is known of it; empty:
// it need not.
func (r *Runner) NoReuse() string {
	switch {
	case r.Accel != qemu.TCG:
		return "a result under KVM depends on the processor of its machine"
	case r.Net:
		return "what a network answers is never the same"
	case r.Repeats > 1:
		return "kernels are run several times to see whether they differ"
	case r.Program == "" || r.QEMUDigest == "" || r.ROMs == "":
		return "the bytes of this program, of QEMU or of its firmware are not known"
	}
	return ""
}

// ProgramDigest names the program that runs by its bytes, those that run even
// where its file was replaced since: every part of it has a say in verdicts.
func ProgramDigest() (string, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("read this program: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read this program: %w", err)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// passes finds and keeps the results of kernels that passed. Nil, it finds and
// keeps none.
type passes struct {
	r         *Runner
	initramfs string // digest of init, the payload and its job, with time limits
	qemu      fs.FileInfo
}

// newPasses is called when the initramfs, whose digest is given, is there.
func (r *Runner) newPasses(initramfs string) *passes {
	if r.Reuse <= 0 || r.NoReuse() != "" {
		return nil
	}
	info, err := os.Stat(r.QEMU)
	if err != nil {
		return nil // there will be no VM either
	}
	return &passes{r: r, initramfs: initramfs, qemu: info}
}

// passKey is everything that a VM and its verdict are made of.
type passKey struct {
	Schema  int
	Program string // digest of this program: it unpacks the kernel and judges
	QEMU    string // version and digest
	ROMs    string // digest of the firmware that QEMU loads

	ID, Source string // entries of allowed splats are for ids
	Kernel     string // digest of the image
	Info       kernel.Info
	Config     string // digest; the result has facts of it
	Modules    string // digest of the archive of modules; "": none

	Initramfs string
	Machine   []string // QEMU's arguments, the kernel's command line among them
	Limits    Limits
	Boot      string // who asks for cold boots gets no result of a warm one

	ModuleNames, Targets []string
	SkipsPass            bool
	Allowed              []report.AllowEntry
	Expected             string
}

const passSchema = 1

// key names what a kernel's VM would be made of.
func (p *passes) key(j job) (string, error) {
	r := p.r
	m := r.machine(j, r.Accel)
	// Paths differ from run to run, their files' digests are in the key. Of the
	// clock's rate, which is never quite the same twice, only counts whether the
	// kernel is told.
	m.Kernel, m.Initrd, m.Nonce, m.TSC = "kernel", "initrd", "nonce", min(m.TSC, 1)
	m.Firmware, m.Lean = r.Firmware, r.Lean // whether the kernel takes them follows from its image
	k := passKey{
		Schema: passSchema, Program: r.Program, QEMU: r.QEMUDigest, ROMs: r.ROMs,
		ID: j.entry.ID(), Source: j.entry.Ref.Digest, Kernel: j.image.KernelDigest(), Info: j.image.Info,
		Initramfs: p.initramfs, Machine: m.Args(), Limits: r.Limits, Boot: r.Boot.String(),
		ModuleNames: r.Payload.Modules, Targets: r.Payload.Targets, SkipsPass: r.Payload.SkipsPass,
		Allowed: r.Allowed.Entries(), Expected: r.Expect.Digest(),
	}
	for _, f := range []struct {
		path string
		to   *string
	}{{j.image.Config, &k.Config}, {j.modules, &k.Modules}} {
		if f.path == "" {
			continue
		}
		b, err := os.ReadFile(f.path)
		if err != nil {
			return "", fmt.Errorf("read what kernel %s came with: %w", j.entry.ID(), err)
		}
		*f.to = sumOf(b)
	}
	b, err := json.Marshal(k)
	if err != nil {
		return "", err
	}
	return sumOf(b), nil
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// pass is a result as it is kept.
type pass struct {
	Schema  int           `json:"schema"`
	Key     string        `json:"key"`
	At      time.Time     `json:"at"` // when its VM had ended, UTC
	RunID   string        `json:"run_id,omitempty"`
	HeadSHA string        `json:"head_sha,omitempty"`
	Kernel  report.Kernel `json:"kernel"`
	Console []byte        `json:"console"`
	Files   [][]byte      `json:"files,omitempty"` // as Kernel.Files names them
}

const (
	passPrefix   = "pass-"
	passVersions = 8 // of one kernel that are kept

	maxPass    = 4 << 20  // bytes of a kept result; larger ones are not kept
	maxPassRaw = 32 << 20 // bytes, decompressed
)

func passName(key string) string {
	return passPrefix + key[len("sha256:"):][:32]
}

// write writes a result: the digest of the rest, which finds disks that are
// damaged and files that are cut short, and JSON, compressed.
func (p *pass) write(w io.Writer) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if len(b) > maxPassRaw {
		return fmt.Errorf("it has %d MiB", len(b)>>20)
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	b = z.EncodeAll(b, nil)
	if len(b) > maxPass-100 {
		return fmt.Errorf("it has %d MiB", len(b)>>20)
	}
	if _, err := io.WriteString(w, sumOf(b)+"\n"); err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

var errNoPass = errors.New("it is no kept result")

// parsePass reads what write has written, from a place that others can write to.
func parsePass(b []byte) (*pass, error) {
	digest, rest, ok := bytes.Cut(b[:min(len(b), maxPass)], []byte("\n"))
	switch {
	case len(b) > maxPass:
		return nil, fmt.Errorf("it has %d MiB", len(b)>>20)
	case !ok || len(digest) != len("sha256:")+2*sha256.Size:
		return nil, errNoPass
	case string(digest) != sumOf(rest):
		return nil, errors.New("it is damaged: its digest is another")
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPassRaw))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	raw, err := z.DecodeAll(rest, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoPass, err)
	}
	p := &pass{}
	if err := json.Unmarshal(raw, p); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoPass, err)
	}
	if p.Schema != passSchema {
		return nil, fmt.Errorf("it has schema %d, not %d", p.Schema, passSchema)
	}
	return p, nil
}

// result is what a kept result says about a kernel now.
func (p *pass) result(j job, key string, now time.Time, oldest time.Duration) (report.Kernel, error) {
	k := p.Kernel
	switch age := now.Sub(p.At); {
	case p.Key != key:
		return k, errors.New("it is of other inputs than its name says")
	case k.ID != j.entry.ID() || k.Digest != j.entry.Ref.Digest:
		return k, errors.New("it is of another kernel")
	case k.Reused != nil || len(k.Files) != len(p.Files):
		return k, errNoPass
	case age < 0 || age > oldest:
		return k, errTooOld
	}
	if err := k.Reusable(); err != nil {
		return k, err
	}
	k.Reused = &report.Reused{At: p.At.UTC(), RunID: p.RunID, HeadSHA: p.HeadSHA, Key: key}
	return k, k.Check()
}

var errTooOld = errors.New("it is too old")

// find returns the result of an earlier VM that stands for the one that this
// job would need, with its console and files in the output directory. What is
// there and of no use is removed.
func (p *passes) find(ctx context.Context, j job) *report.Kernel {
	if p == nil {
		return nil
	}
	key, err := p.key(j)
	if err != nil {
		return nil
	}
	file, ok := j.image.FindDerived(passName(key))
	if !ok {
		return nil
	}
	k, err := p.read(file, j, key)
	if err == nil {
		err = p.restore(k, j)
	}
	if err != nil {
		// A kernel that is booted is never wrong.
		_ = j.image.DropDerived(passName(key))
		return nil
	}
	k.Reproduce = p.r.reproduce(j.entry)
	if p.r.survey.wants() {
		p.r.survey.look(ctx, j.image, p.r.Cache, p.r.Scratch, "")
	}
	return &k.Kernel
}

// found is a result and its evidence.
type found struct {
	report.Kernel
	console []byte
	files   [][]byte
}

func (p *passes) read(file string, j job, key string) (*found, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPass+1))
	if err != nil {
		return nil, err
	}
	kept, err := parsePass(b)
	if err != nil {
		return nil, err
	}
	k, err := kept.result(j, key, p.r.Now(), p.r.Reuse)
	if err != nil {
		return nil, err
	}
	if k.Console != consolePath(j.entry) {
		return nil, errNoPass
	}
	return &found{k, kept.Console, kept.Files}, nil
}

// restore writes a result's evidence. Its names are those that Check accepts.
func (p *passes) restore(k *found, j job) error {
	root, err := os.OpenRoot(p.r.Out) // no link leads out of it
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
	err = write(k.Console, k.console)
	for i, name := range k.Files {
		err = errors.Join(err, write(name, k.files[i]))
	}
	if err != nil {
		return fmt.Errorf("restore the evidence of %s: %w", j.entry.ID(), err)
	}
	return nil
}

// keep keeps what a kernel's VM has just said, if it may stand for later ones.
// Without it the kernel is booted again the next time.
func (p *passes) keep(ctx context.Context, j job, k report.Kernel) {
	if p == nil || k.Reusable() != nil || ctx.Err() != nil {
		return
	}
	if info, err := os.Stat(p.r.QEMU); err != nil || !os.SameFile(info, p.qemu) || info.Size() != p.qemu.Size() || !info.ModTime().Equal(p.qemu.ModTime()) {
		return // it was replaced while this run went on
	}
	key, err := p.key(j)
	if err != nil {
		return
	}
	kept := &pass{Schema: passSchema, Key: key, At: p.r.Now().UTC(), RunID: p.r.RunID, HeadSHA: p.r.HeadSHA, Kernel: k}
	kept.Kernel.Reproduce = "" // the next run's own
	if kept.Console, err = p.evidence(k.Console); err != nil {
		return
	}
	for _, name := range k.Files {
		b, err := p.evidence(name)
		if err != nil {
			return
		}
		kept.Files = append(kept.Files, b)
	}
	// It takes the place of one that was too old, or that could not be read.
	_ = j.image.DropDerived(passName(key))
	if _, err := j.image.Derived(ctx, p.r.Cache, passName(key), kept.write); err == nil {
		j.image.KeepNewestDerived(passPrefix, passVersions)
	}
}

// evidence reads a file of the output directory.
func (p *passes) evidence(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(p.r.Out, filepath.FromSlash(name)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPassRaw+1))
	if err == nil && len(b) > maxPassRaw {
		err = errors.New("it is too large to be kept")
	}
	return b, err
}
