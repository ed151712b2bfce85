package shard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// Root is a root file system for guests, such as a rootfs.Root.
type Root interface {
	Image(ctx context.Context) (string, error)   // path of an ext4 image
	Archive(ctx context.Context) (string, error) // path of a cpio archive; its files are below wire.RootDir
}

// HasRoot says whether the guests have a root file system of the user's.
func (c *Config) HasRoot() bool { return c.Root != nil || c.HostRoot }

// rootWay is how a kernel gets the user's root file system.
type rootWay struct {
	kind    string   // of wire.ParamRoot; "": there is none
	device  string   // of wire.RootDisk
	options []string // of the kernel's config, for modules, which may be built in
	modules []string // of those options, in the order to load them
	file    string   // the image or the archive
	why     string   // why it is no disk
}

// share is the way for this machine's root.
func share(on qemu.Bus) rootWay {
	return rootWay{kind: wire.RootShare, options: image.ShareOptions(on.Option), modules: []string{"virtio", on.Module, "9pnet", "9pnet_virtio", "9p", "overlay"}}
}

// disks are the ways for an image, the best one first.
func disks(on qemu.Bus) []rootWay {
	disk := func(device string, options, modules []string) rootWay {
		return rootWay{
			kind: wire.RootDisk, device: device,
			options: append(options, "EXT4_FS", "OVERLAY_FS"), modules: append(modules, "ext4", "overlay", "crc32c_generic"),
		}
	}
	return []rootWay{
		disk(on.Device("blk"), []string{on.Option, "VIRTIO_BLK"}, []string{on.Module, "virtio_blk"}),
		disk("nvme,serial=root", []string{"BLK_DEV_NVME"}, []string{"nvme"}),
	}
}

// wantRoot sets the way on which a kernel gets the root file system, by its
// configuration. For what is not sure there is the archive, which every kernel
// unpacks.
func (r *run) wantRoot(ctx context.Context, j *job) error {
	elf := ""
	if j.image.Config == "" && j.unpackELF(ctx) == nil {
		elf = j.vmlinux
	}
	config, err := j.image.ReadConfig(elf)
	j.config = config
	if r.HostRoot {
		j.root = share(r.Arch.Bus)
		if off := config.Missing(j.root.options); err == nil && len(off) > 0 {
			return fmt.Errorf("--host-root: this kernel cannot mount it: its config lacks CONFIG_%s; build-kernels makes kernels that have them", strings.Join(off, ", CONFIG_"))
		}
		return nil // init says what is missing where that is not known
	}
	j.root = rootWay{kind: wire.RootArchive, why: "its config is not known"}
	for i, w := range disks(r.Arch.Bus) {
		if err != nil || r.forTests.noDisk {
			break
		}
		off := config.Missing(w.options)
		if len(off) == 0 {
			j.root = w
			return nil
		}
		if i == 0 {
			j.root.why = "its config lacks CONFIG_" + strings.Join(off, ", CONFIG_")
		}
	}
	return nil
}

// findRoot settles the way when the kernel's modules are known, and makes what it
// takes.
func (r *run) findRoot(ctx context.Context, j *job) error {
	came, takes, err := listModules(j.modules)
	if err != nil {
		return fmt.Errorf("read the modules of %s: %w", j.image.ID(), err)
	}
	var missing []string
	for i, o := range j.root.options {
		if j.config[o] == "m" && !slices.Contains(came, j.root.modules[i]) {
			missing = append(missing, "CONFIG_"+o)
		}
	}
	switch why := strings.Join(missing, ", ") + " are modules, and it came without them"; {
	case len(missing) > 0 && j.root.kind == wire.RootShare:
		return errors.New("--host-root: this kernel cannot mount it: " + why)
	case len(missing) > 0:
		j.root = rootWay{kind: wire.RootArchive, why: why}
	}
	switch j.root.kind {
	case wire.RootDisk:
		j.root.file, err = r.Root.Image(ctx)
	case wire.RootArchive:
		if j.root.file, err = r.Root.Archive(ctx); err == nil {
			err = r.checkRootFits(j.root, takes)
		}
	}
	return err
}

// listModules lists the modules of an archive that guest.WriteModules wrote, and
// what they take of the guest's memory. "" is for none.
func listModules(archive string) (names []string, takes guest.Memory, err error) {
	if archive == "" {
		return nil, takes, nil
	}
	f, err := os.Open(archive)
	if err != nil {
		return nil, takes, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, takes, err
	}
	p, err := guest.HandOver(f, st.Size())
	for _, file := range p.Files {
		_, name, _ := strings.Cut(strings.TrimSuffix(path.Base(string(file.Name)), ".ko"), "-")
		names = append(names, name)
		takes.AddFile(file.Size)
	}
	return names, takes, err
}

// withRoot adds to a machine what the kernel's way to the root takes.
func (j *job) withRoot(m qemu.Machine) qemu.Machine {
	m.Root = j.root.kind
	switch j.root.kind {
	case wire.RootDisk:
		m.Disk, m.DiskDevice = j.root.file, j.root.device
	case wire.RootShare:
		m.Extras.Share = "/"
	}
	return m
}

// maxArchives bounds what the kernel unpacks: QEMU puts it below the hole that PCs
// have in their memory from 3 GiB on.
const maxArchives = 2 << 30

// checkRootFits says how much memory a root needs that is unpacked into it, with the
// kernel's modules and the payload's files. A twentieth is for what else an archive
// has; the rest is for the kernel, and for a payload to run.
func (r *run) checkRootFits(w rootWay, takes guest.Memory) error {
	st, err := os.Stat(w.file)
	if err != nil {
		return fmt.Errorf("read the root file system: %w", err)
	}
	takes.Add(guest.Memory{Archive: st.Size(), Unpacked: r.RootUnpacked})
	takes.Add(r.Payload.Memory())
	if takes.Archive > maxArchives {
		return fmt.Errorf("the root file system is too large to be unpacked into memory, which is done without a disk, since %s: it is of %d MiB, and the most is %d: leave files out, or take kernels with virtio_blk and ext4", w.why, takes.Archive>>20, maxArchives>>20)
	}
	have := int(qemu.Machine{Memory: r.Memory}.RAMSize() >> 20)
	if need := takes.MiB(false)*21/20 + 192; need > have {
		return fmt.Errorf("the root file system does not fit into %d MiB: without a disk, since %s, the kernel unpacks it into memory: --memory %d", have, w.why, need)
	}
	return nil
}
