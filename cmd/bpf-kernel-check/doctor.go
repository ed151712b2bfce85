package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

func (c *command) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine can do and what it lacks",
		Long: `Prints what bpf-kernel-check finds on this machine: QEMU, whether KVM truly
works, cores, memory, disk, the cache, and apt for Debian's kernels. Exits with
3 when nothing could be tested here.`,
		Example: "  bpf-kernel-check doctor",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
			defer w.Flush()
			ok := true
			row := func(name, format string, args ...any) {
				fmt.Fprintf(w, "%s\t%s\n", name, report.OneLine(fmt.Sprintf(format, args...), 500))
			}
			row("version", "%s, %s/%s", version(), runtime.GOOS, runtime.GOARCH)
			arch, err := qemu.LookupArch("amd64")
			if err != nil {
				return err
			}
			if bin, err := qemu.Find(arch); err != nil {
				ok = false
				row("qemu", "missing: %v", err)
			} else if v, err := qemu.Version(ctx, bin); err != nil {
				ok = false
				row("qemu", "broken: %v", err)
			} else {
				row("qemu", "%s, version %s", bin, v)
			}
			if accel, why, _ := qemu.Choose(ctx, qemu.Auto, arch, qemu.DefaultKVM); why != "" {
				row("accel", "%v: %s", accel, why)
			} else {
				row("accel", "%v", accel)
			}
			row("cores", "%d", runtime.NumCPU())
			if free, err := availableMemory(); err != nil {
				row("memory", "unknown: %v", err)
			} else {
				fit, _ := fitJobs(runtime.NumCPU(), qemu.DefaultMemory, runtime.NumCPU())
				row("memory", "%d MiB available: %s of %d MiB at a time", free>>20, count(fit, "VM"), qemu.DefaultMemory)
			}
			dir := c.cache
			if dir == "" {
				dir, err = kernel.DefaultCacheDir()
			}
			if err != nil {
				ok = false
				row("cache", "unknown: %v", err)
			} else {
				row("cache", "%s, %d MiB used, %d MiB free", dir, diskUsage(dir)>>20, diskFree(dir)>>20)
			}
			row("scratch", "%s, %d MiB free", os.TempDir(), diskFree(os.TempDir())>>20)
			if path, err := exec.LookPath("apt-get"); err != nil {
				row("apt", "missing: debian:... sources need it (Debian or Ubuntu)")
			} else {
				row("apt", "%s", path)
			}
			if _, err := exec.LookPath("go"); err != nil {
				row("go", "missing; only needed when this binary was not built with make")
			}
			if !ok {
				return exitError(report.ExitNotTested)
			}
			return nil
		},
	}
}

// diskUsage adds up the files below dir, in bytes.
func diskUsage(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	return sum
}

// diskFree is what an ordinary user can still write to dir's file system, or
// to that of its nearest parent that exists.
func diskFree(dir string) int64 {
	for {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err == nil {
			return int64(st.Bavail) * st.Bsize
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return 0
		}
		dir = parent
	}
}
