package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/host"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// examineKernel says why a kernel could not be tested here.
func (c *command) examineKernel(ctx context.Context, t *checkup, args []string) error {
	id := ""
	if len(args) > 1 {
		id = args[1]
	}
	e, err := c.findKernel(ctx, args[:1], "", id)
	if err != nil {
		return err
	}
	fatal := func(format string, args ...any) {
		t.bad = true
		t.row("cannot run", format, args...)
	}
	t.row("kernel", "%s", e.ID())
	im, err := e.Source.Open(ctx, e.Ref)
	var bad *kernel.BadKernelError
	if errors.As(err, &bad) {
		fatal("%v", err)
		return nil
	}
	if err != nil {
		return err
	}
	t.row("image", "%s", imageWords(im))

	arch, err := qemu.LookupArch(im.Arch)
	if im.Arch == "" {
		t.row("arch", "unknown: the image does not tell")
	} else if err != nil {
		fatal("%v", err)
	} else if _, err := qemu.Find(arch); err != nil {
		fatal("%v", err)
	}

	scratch, remove, err := host.MakeScratch(os.TempDir())
	if err != nil {
		return err
	}
	defer remove()
	vmlinux := filepath.Join(scratch, "vmlinux")
	switch err := im.Vmlinux(ctx, vmlinux); {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, image.ErrNoVmlinux):
		vmlinux = ""
	case err != nil:
		fatal("it cannot be unpacked: %v", err)
		return nil
	}
	t.row("starts", "%s", startWords(im, vmlinux))

	if why := c.filter(&sourceOptions{minRelease: plan.DefaultMinRelease}, "").Unfit(ctx, e); why != "" {
		t.row("skipped", "by run without --min-release \"\": %s", why)
	}
	label := "limits"
	for _, a := range image.Abilities() {
		if im.Release == "" || report.CompareVersions(im.Release, a.Since) >= 0 {
			continue
		}
		if label != "" {
			t.row(label, "by release, unless its distribution added what is new in")
			label = ""
		}
		t.row(label, "%s, %s: %s", a.Since, strings.ReplaceAll(a.What, "`", ""), strings.ReplaceAll(a.Without, "`", ""))
	}

	config, err := im.ReadConfig(vmlinux)
	switch {
	case errors.Is(err, image.ErrNoConfig):
		t.row("config", "unknown: it came without one, and was built without CONFIG_IKCONFIG: whether it can be tested shows when it is")
		if vmlinux != "" && !hasSection(vmlinux, ".BTF") {
			t.row("BTF", "unknown: the unpacked kernel has no section .BTF")
		}
		return nil
	case err != nil:
		t.row("config", "unknown: %v", err)
		return nil
	case im.Config != "":
		t.row("config", "came with it, %s", count(len(config), "option"))
	default:
		t.row("config", "in the image, %s", count(len(config), "option"))
	}
	for _, o := range config.MissingOptions(im.Arch) {
		if o.Fatal {
			fatal("%v", o)
		} else {
			t.row("limits", "%v", o)
		}
	}
	if missing := config.Missing(image.ShareOptions(arch.Bus.Option)); len(missing) > 0 {
		t.row("debug", "--host-root does not work, its config lacks CONFIG_%s", strings.Join(missing, ", CONFIG_"))
	}
	if !t.bad {
		t.row("result", "nothing known speaks against testing it here")
	}
	return nil
}

// imageWords describes an image.
func imageWords(im *kernel.Image) string {
	words := []string{string(im.Info.Format)}
	if im.Info.Compression != "" {
		words[0] += " (" + string(im.Info.Compression) + ")"
	}
	for _, w := range []string{im.Arch, im.Release} {
		if w != "" {
			words = append(words, w)
		}
	}
	modules := "without modules: those that a payload needs must be built in"
	if im.HasModules() {
		modules = "with modules"
	}
	return strings.Join(append(words, modules), ", ")
}

// startWords says how QEMU is given the kernel.
func startWords(im *kernel.Image, vmlinux string) string {
	if vmlinux != "" {
		if pvh, err := image.HasPVH(vmlinux); err == nil && pvh {
			return "unpacked, by PVH"
		}
	}
	switch {
	case im.Info.Format == image.FormatZboot && vmlinux != "":
		return "unpacked"
	case im.Info.Format == image.FormatZboot:
		return "it is an EFI zboot image, which QEMU does not start as it is: it has to be unpacked first"
	}
	return "as it is"
}
