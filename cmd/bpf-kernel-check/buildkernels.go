package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/screen"
	"github.com/elastic/bpf-kernel-check/shard/host"
	"github.com/elastic/bpf-kernel-check/shard/kernel/build"
)

// buildOptions are the flags of build-kernels.
type buildOptions struct {
	sources []string
	tags    string
	refs    []string
	patches []string
	configs []string
	debug   []string
	arch    string
	jobs    int
	make    []string
	out     string
}

func (c *command) buildKernelsCommand() *cobra.Command {
	var o buildOptions
	cmd := &cobra.Command{
		Use:   "build-kernels --src DIR|TARBALL...",
		Short: "Build mainline kernels to test on",
		Long: `Builds kernel images from the tags, branches or commits of a kernel git
repository, or from source tarballs such as Debian's linux-source packages, and
writes them to an archive for run --kernels. The configuration is the
architecture's default with BPF, BTF, tracing and the drivers that debug needs.
Nothing is a module.

Each --config makes a kernel of each tree. Its files are merged in their order: a
complete .config, which replaces the default, or fragments. With --patch each
kernel is built twice, without the patches and with them.

Builds are cached by source, configuration and toolchain, and compiled through
ccache if that is installed. The archive holds only the kernels of this command
line.

Exit codes: 0 all built; 1 some failed, and the archive holds the others; 2 wrong
usage or input; 3 build tools are missing.`,
		Example: `  bpf-kernel-check build-kernels --src /usr/src/linux-source-6.1.tar.xz
  bpf-kernel-check build-kernels --src ./linux --tags 'v5\.1[0-9]' --out mainline-kernels.tar -j 16
  bpf-kernel-check build-kernels --src ./bpf-next --ref HEAD --patch ./series --debug kasan,lockdep`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("debug") && len(o.debug) == 0 {
				return usagef("--debug is empty: want %s", strings.Join(build.DebugNames(), ", "))
			}
			o.sources = append(o.sources, args...)
			return c.buildKernels(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.sources, "src", nil, "git repository or tarball of kernel sources, as `SRC`; repeatable; arguments without a flag are sources too")
	f.StringVar(&o.tags, "tags", "", "build the tags that `REGEX` matches as a whole (default: all final releases from 5.8 on)")
	f.StringArrayVar(&o.refs, "ref", nil, "build the branch or commit `REF`, as git knows it, instead of tags; repeatable")
	f.StringArrayVar(&o.patches, "patch", nil, "build each kernel once more with the patches in `FILE`, or with the .patch files of a directory in the order of their names; repeatable")
	f.StringArrayVar(&o.configs, "config", nil, "build with the configuration that `FILE[,FILE...]` make; repeatable")
	f.StringSliceVar(&o.debug, "debug", nil, "build kernels that check themselves, with `NAMES`: "+strings.Join(build.DebugNames(), ", "))
	f.StringVar(&o.arch, "arch", runtime.GOARCH, "`ARCH` of the kernels, "+goarch.List())
	f.Lookup("arch").DefValue = "this machine's"
	jobsFlag(f, &o.jobs, "jobs of make; kernels are built one after the other")
	f.StringArrayVar(&o.make, "make", nil, "`VAR=VALUE` for make, such as CC=gcc-10 or LLVM=1; repeatable")
	f.StringVarP(&o.out, "out", "o", "mainline-kernels.tar", "`FILE` to write the kernels to; logs go to a directory beside it")
	return cmd
}

var makeVariable = regexp.MustCompile(`^[A-Z_][A-Z0-9_]*=`)

// builder checks the flags.
func (o *buildOptions) builder() (*build.Builder, error) {
	if len(o.sources) == 0 {
		return nil, usagef("nothing to build: name a git repository of the kernel or a source tarball with --src")
	}
	o.debug, o.refs = unique(o.debug), unique(o.refs)
	b := &build.Builder{Sources: o.sources, Refs: o.refs, Make: o.make, Jobs: o.jobs, Now: time.Now}
	if o.tags != "" {
		re, err := regexp.Compile(`^(?:` + o.tags + `)$`)
		if err != nil {
			return nil, usagef("--tags: %w", err)
		}
		b.Tags = re
	}
	arch, err := build.LookupArch(o.arch)
	if err != nil {
		return nil, usagef("--arch: %w", err)
	}
	if b.Recipes, err = build.Configurations(build.Mainline(arch), o.configs, o.debug); err != nil {
		return nil, usageError{err}
	}
	if b.Patches, err = build.ReadPatches(o.patches); err != nil {
		return nil, usageError{err}
	}
	if o.jobs < 1 || o.jobs > 1024 {
		return nil, usagef("-j, --jobs is %d: want 1 to 1024", o.jobs)
	}
	for _, kv := range o.make {
		if !makeVariable.MatchString(kv) {
			return nil, usagef("--make %q: want VAR=VALUE", kv)
		}
	}
	if filepath.Ext(o.out) != ".tar" {
		return nil, usagef("--out is %q: want a file name that ends with .tar (the images are compressed already)", o.out)
	}
	if st, err := os.Stat(o.out); err == nil && st.IsDir() {
		return nil, usagef("--out: %s is a directory: want a file name", o.out)
	}
	if o.out, err = filepath.Abs(o.out); err != nil {
		return nil, err
	}
	b.Logs = strings.TrimSuffix(o.out, ".tar") + "-logs"
	return b, nil
}

// unique drops what is there before.
func unique(list []string) (out []string) {
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func (c *command) buildKernels(ctx context.Context, o buildOptions) error {
	b, remove, err := c.builder(ctx, &o)
	if err != nil {
		return err
	}
	defer remove()
	logged := false
	b.Report = func(e build.Event) {
		logged = logged || e.State == build.Failed && e.Kernel.Log != ""
		c.buildEvent(e)
	}
	built, failed, err := b.Run(ctx)
	var usage *build.UsageError
	if errors.As(err, &usage) {
		return usageError{err}
	}
	if len(built) > 0 {
		if err := build.WriteArchive(o.out, b.Recipes[0].Arch, built); err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "%s in %s\n", count(len(built), "kernel"), o.out)
	}
	if err != nil {
		return err
	}
	if failed > 0 {
		line := count(failed, "kernel") + " not built"
		if logged {
			line += ": logs are in " + b.Logs
		}
		fmt.Fprintf(c.stderr, "bpf-kernel-check: %s\n", line)
		return exitError(report.ExitFail)
	}
	return nil
}

// builder makes what builds kernels; remove removes its directory.
func (c *command) builder(ctx context.Context, o *buildOptions) (b *build.Builder, remove func(), err error) {
	if b, err = o.builder(); err != nil {
		return nil, nil, err
	}
	if err := b.CheckSources(); err != nil {
		return nil, nil, usageError{err}
	}
	if err := b.CheckTools(ctx); err != nil {
		return nil, nil, err
	}
	dir := filepath.Dir(o.out)
	if err := cmp.Or(os.MkdirAll(dir, 0o755), unix.Access(dir, unix.W_OK|unix.X_OK)); err != nil {
		return nil, nil, usagef("--out: %s: %w", dir, err)
	}
	cache, err := c.openCache()
	if err != nil {
		return nil, nil, err
	}
	b.Cache = cache.Dir()
	parent := filepath.Join(b.Cache, "build")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, nil, fmt.Errorf("make a directory to build in: %w", err)
	}
	const enough = 12 << 30
	if free := host.DiskFree(parent); free < enough {
		c.warn(fmt.Sprintf("%s has %d MiB free, which may be too little to build a kernel: %d are enough", parent, free>>20, enough>>20))
	}
	b.Report = c.buildEvent
	b.Scratch, remove, err = host.MakeScratch(parent)
	return b, remove, err
}

// buildEvent prints the progress of a kernel.
func (c *command) buildEvent(e build.Event) {
	k := e.Kernel
	name := report.OneLine(k.String(), 200)
	switch e.State {
	case build.Started:
		fmt.Fprintf(c.stdout, "%d/%d %s: building\n", e.Index, e.Total, name)
	case build.Built:
		fmt.Fprintf(c.stdout, "[BUILT] %s  %v, %s\n", name, k.Duration.Round(time.Second), screen.Size(k.Size))
	case build.Kept:
		fmt.Fprintf(c.stdout, "[KEPT] %s  built before, %s\n", name, screen.Size(k.Size))
	case build.Failed:
		fmt.Fprintf(c.stdout, "[FAIL] %s  %s\n", name, report.OneLine(e.Err.Error(), 2000))
		var lines []string
		if err := (*build.ConfigError)(nil); errors.As(e.Err, &err) {
			lines = err.Reasons
		}
		if err := (*build.MakeError)(nil); errors.As(e.Err, &err) {
			lines = err.Lines
		}
		for _, l := range lines {
			fmt.Fprintf(c.stdout, "    %s\n", report.OneLine(l, 500))
		}
	}
}
