package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/host"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/gcs"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

func (c *command) doctorCommand() *cobra.Command {
	job := false
	cmd := &cobra.Command{
		Use:   "doctor [KERNEL | SRC ID]",
		Short: "Say what this machine or a kernel lacks",
		Long: `Prints what this machine has: QEMU, KVM and whether it really works, cores,
memory, disk, the cache, apt for Debian's kernels, and the credentials for gs://
buckets.

With a kernel (a file or an archive, or a source and the id of one of its
kernels), prints what the image is, how it would be started, and what its
configuration lacks.

With --github, in a step of a workflow, prints what a bug report should say of
the job first: the runner's image, the server, the event, whether GITHUB_TOKEN
works, the services, container and /dev/kvm. It shows no secret, and neither the
repository's name nor the run's.

Exits with 3 if nothing can be tested here, or not that kernel.`,
		Example: `  bpf-kernel-check doctor
  bpf-kernel-check doctor ./bzImage
  bpf-kernel-check doctor debian:bookworm:cloud-amd64 'debian/6.1.0-56-*'`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.checkUp(func(t *checkup) error {
				switch {
				case job && len(args) > 0:
					return usagef("--github is about this job: leave %q away", args[0])
				case len(args) > 0:
					return c.examineKernel(cmd.Context(), t, args)
				case job:
					if err := c.examineJob(cmd.Context(), t); err != nil {
						return err
					}
				}
				c.examine(cmd.Context(), t)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&job, "github", false, "in a workflow: print what a bug report needs to know of the job, too")
	return cmd
}

// checkUp prints what examine finds.
func (c *command) checkUp(examine func(t *checkup) error) error {
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	t := &checkup{row: func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, report.OneLine(fmt.Sprintf(format, args...), 500))
	}}
	err := examine(t)
	if ferr := w.Flush(); err == nil {
		err = ferr
	}
	if err == nil && t.bad {
		err = exitError(report.ExitNotTested)
	}
	return err
}

// checkup is a list of findings.
type checkup struct {
	row func(name, format string, args ...any)
	bad bool // nothing can be tested
}

// examine looks at this machine.
func (c *command) examine(ctx context.Context, t *checkup) {
	t.row("version", "%s, %s/%s", version(), runtime.GOOS, runtime.GOARCH)
	found := false
	for i, name := range goarch.Names() {
		arch, err := qemu.LookupArch(name)
		if err != nil {
			continue // not supported by this version
		}
		label := "qemu"
		if i > 0 {
			label += " " + name
		}
		found = examineQEMU(ctx, t, label, arch) || found
	}
	t.bad = !found
	if arch, err := qemu.LookupArch(runtime.GOARCH); err != nil {
		t.row("accel", "tcg: kernels of another architecture are emulated")
	} else if accel, why, _ := qemu.Choose(ctx, qemu.Auto, arch, qemu.DefaultKVM); why != "" {
		t.row("accel", "%v: %s", accel, why)
	} else {
		t.row("accel", "%v", accel)
	}
	t.row("cores", "%d: %s at a time", runtime.NumCPU(), count(runtime.NumCPU(), "VM"))
	if free, err := host.AvailableMemory(); err != nil {
		t.row("memory", "unknown: %v", err)
	} else {
		fit, _ := host.FitJobs(runtime.NumCPU(), qemu.DefaultMemory, runtime.NumCPU(), 1)
		t.row("memory", "%d MiB available: %s of %d MiB at a time", free>>20, count(fit, "VM"), qemu.DefaultMemory)
	}
	dir, err := c.cache, error(nil)
	if dir == "" {
		dir, err = kernel.DefaultCacheDir()
	}
	if err != nil {
		t.bad = true
		t.row("cache", "unknown: %v", err)
	} else {
		t.row("cache", "%s, %d MiB used, %d MiB free", dir, host.DiskUsage(dir)>>20, host.DiskFree(dir)>>20)
	}
	t.row("scratch", "%s, %d MiB free", os.TempDir(), host.DiskFree(os.TempDir())>>20)
	examineApt(t)
	t.row("credentials", "%s", gcs.DescribeCredentials(ctx, 2*time.Second))
	if _, err := exec.LookPath("go"); err != nil {
		t.row("go", "missing; only needed when this binary was not built with make")
	}
}

func examineQEMU(ctx context.Context, t *checkup, label string, arch qemu.Arch) bool {
	bin, err := qemu.Find(arch)
	if err != nil {
		t.row(label, "missing: %v", err)
		return false
	}
	v, err := qemu.Version(ctx, bin)
	if err != nil {
		t.row(label, "broken: %v", err)
		return false
	}
	t.row(label, "%s, version %s", bin, v)
	return true
}

// examineApt looks for the tools that read Debian's and Ubuntu's repositories.
func examineApt(t *checkup) {
	path, err := exec.LookPath("apt-get")
	if err != nil {
		t.row("apt", "missing: debian:... and ubuntu:... sources need it (Debian or Ubuntu)")
		return
	}
	var missing []string
	for _, name := range []string{"dpkg-deb", "gpgv"} {
		if !host.Has(name) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		t.row("apt", "%s, but it lacks %s", path, strings.Join(missing, " and "))
		return
	}
	t.row("apt", "%s", path)
}
