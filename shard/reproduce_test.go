package shard

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// named is a source that has nothing but a name.
type named string

func (n named) String() string                                          { return string(n) }
func (n named) List(context.Context) ([]kernel.Ref, error)              { return nil, nil }
func (n named) Open(context.Context, kernel.Ref) (*kernel.Image, error) { return nil, os.ErrNotExist }

func TestReproduce(t *testing.T) {
	e := plan.Entry{Ref: kernel.Ref{Distro: "debian", Name: "6.1"}}
	for source, want := range map[string]string{
		"debian:bookworm":              "bpf-kernel-check debug --kernels debian:bookworm --test './t -v' debian/6.1",
		"rpm:https://me:pw@host/a@b":   "bpf-kernel-check debug --kernels rpm:https://host/a@b --test './t -v' debian/6.1",
		"./it's here":                  `bpf-kernel-check debug --kernels './it'\''s here' --test './t -v' debian/6.1`,
		"./a\nb":                       "",
		"x,url=http://token@h,key=./k": "bpf-kernel-check debug --kernels x,url=http://h,key=./k --test './t -v' debian/6.1",
	} {
		e.Source = named(source)
		r := &Config{PayloadFlags: []string{"--test", "./t -v"}}
		if got := r.reproduce(e); got != want {
			t.Errorf("%q: %q, want %q", source, got, want)
		}
	}
}

func TestNoBootHint(t *testing.T) {
	arch, err := qemu.LookupArch("amd64")
	if err != nil {
		t.Fatal(err)
	}
	r := &run{Runner: &Runner{Config: Config{Arch: arch}}}
	dir := t.TempDir()
	for config, want := range map[string]string{
		"CONFIG_64BIT=y\nCONFIG_FUTEX=y\nCONFIG_EPOLL=y\nCONFIG_EVENTFD=y\nCONFIG_TTY=y\nCONFIG_PRINTK=y\nCONFIG_BINFMT_ELF=y\nCONFIG_SERIAL_8250=y\nCONFIG_SERIAL_8250_CONSOLE=y\nCONFIG_PROC_FS=y\nCONFIG_PROC_SYSCTL=y\n": "late; in its config CONFIG_BLK_DEV_INITRD is off: see doctor KERNEL",
		"CONFIG_TTY=y\n": "late; in its config CONFIG_BLK_DEV_INITRD is off, CONFIG_64BIT is off, CONFIG_BINFMT_ELF is off, and more: see doctor KERNEL",
		"":               "late",
		"nonsense":       "late",
	} {
		im := &kernel.Image{Kernel: filepath.Join(dir, "none")}
		if config != "" {
			im.Config = filepath.Join(dir, "config")
			if err := os.WriteFile(im.Config, []byte(config), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		c := &report.Cause{Title: "late", Excerpt: "x"}
		if got := r.noBootHint(&job{fetched: fetched{image: im}, boot: im.Kernel}, c); got.Title != want || got.Excerpt != "x" || c.Title != "late" {
			t.Errorf("%q: %+v, want %q", config, got, want)
		}
	}
}

// Results of other machines are those of another run.
func TestRecordNamesTheMachine(t *testing.T) {
	plain := (&Config{}).Record(plan.Plan{}).Payload
	if got := (&Config{CPUs: 1}).Record(plan.Plan{}).Payload; got != plain {
		t.Errorf("one processor: %s, want %s", got, plain)
	}
	seen := map[string]bool{plain: true}
	for _, c := range []*Config{{CPUs: 2}, {CPUs: 4}, {Append: []string{"a", "b"}}, {Append: []string{"a b"}}, {CPUs: 2, Append: []string{"a"}}} {
		got := c.Record(plan.Plan{}).Payload
		if seen[got] {
			t.Errorf("%d processors, %q: the payload is %s, as another's", c.CPUs, c.Append, got)
		}
		seen[got] = true
	}
}
