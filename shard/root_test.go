package shard

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// madeRoot is a root file system whose forms are the files of a directory.
type madeRoot string

func (m madeRoot) Image(context.Context) (string, error) {
	return filepath.Join(string(m), "image"), nil
}

func (m madeRoot) Archive(context.Context) (string, error) {
	return filepath.Join(string(m), "archive"), nil
}

// A kernel gets the root by what its config and its modules let it mount; in doubt
// as an archive.
func TestWaysToTheRoot(t *testing.T) {
	const (
		virtio = "CONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_BLK=y\n"
		fs     = "CONFIG_EXT4_FS=y\nCONFIG_OVERLAY_FS=m\n"
		share  = "CONFIG_VIRTIO=y\nCONFIG_VIRTIO_PCI=y\nCONFIG_NET_9P=y\nCONFIG_NET_9P_VIRTIO=m\nCONFIG_9P_FS=m\n"
	)
	for _, tt := range []struct {
		name, config string
		modules      []string
		memory       int  // in MiB, for an archive of 32 MiB
		large        bool // the archive is of more than 2 GiB
		host         bool
		line         string // of the machine, a regexp
		err          string // a regexp; "": none
	}{
		{name: "virtio", config: virtio + fs, modules: []string{"overlay"}, line: `bkc.root=disk .*/image,.* virtio-blk-pci,drive`},
		{name: "virtio before NVMe", config: virtio + fs + "CONFIG_BLK_DEV_NVME=y\n", modules: []string{"overlay"}, line: `virtio-blk-pci`},
		{name: "NVMe only", config: fs + "CONFIG_BLK_DEV_NVME=m\n", modules: []string{"nvme", "overlay"}, line: `bkc.root=disk .*/image,.* nvme,serial=root,drive`},
		{name: "a module that is not there", config: virtio + fs, modules: []string{"not-overlay"}, line: `bkc.root=cpio `},
		{name: "no ext4", config: virtio + "CONFIG_OVERLAY_FS=y\n", line: `bkc.root=cpio `},
		{name: "no config", line: `bkc.root=cpio `},
		{name: "too large", config: virtio + "CONFIG_OVERLAY_FS=y\n", memory: 200, err: `^the root file system does not fit into 200 MiB: without a disk, since its config lacks CONFIG_EXT4_FS, the kernel unpacks it into memory: --memory 29\d$`},
		{name: "too large without a module", config: virtio + fs, memory: 200, err: `since CONFIG_OVERLAY_FS are modules, and it came without them, the kernel`},
		{name: "too large for QEMU", large: true, memory: 64 << 10, err: `^the root file system is too large .* its config is not known: it is of 20\d\d MiB, and the most is 2048: leave files out, or take kernels with virtio_blk and ext4$`},
		{name: "too large for an archive only", config: virtio + fs, modules: []string{"overlay"}, memory: 200, line: `bkc.root=disk `},
		{name: "the host's", host: true, config: share + fs, modules: []string{"9pnet_virtio", "9p", "overlay"}, line: `bkc.root=9p .*path=/ .*mount_tag=bkc-host`},
		{name: "the host's, without 9p", host: true, config: virtio + fs, modules: []string{"overlay"}, err: `^--host-root: this kernel cannot mount it: its config lacks CONFIG_VIRTIO, CONFIG_NET_9P, CONFIG_NET_9P_VIRTIO, CONFIG_9P_FS; build-kernels`},
		{name: "the host's, without the modules", host: true, config: share + fs, err: `^--host-root: this kernel cannot mount it: CONFIG_NET_9P_VIRTIO, CONFIG_9P_FS, CONFIG_OVERLAY_FS are modules, and it came without them$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			arch, err := qemu.LookupArch("amd64")
			if err != nil {
				t.Fatal(err)
			}
			r := (&Runner{Config: Config{Arch: arch, Root: madeRoot(dir), RootUnpacked: 32 << 20, HostRoot: tt.host}}).newRun()
			if tt.host {
				r.Root = nil
			}
			j := &job{vmlinux: filepath.Join(dir, "vmlinux")}
			j.image = &kernel.Image{Config: filepath.Join(dir, "config")}
			r.Memory = tt.memory
			var archive bytes.Buffer
			if err := errors.Join(
				os.WriteFile(j.image.Config, []byte(tt.config+"CONFIG_X=y\n"), 0o644),
				guest.WriteModules(&archive, []guest.Module{{Name: "x", Data: make([]byte, 32<<20)}}),
				os.WriteFile(filepath.Join(dir, "archive"), archive.Bytes(), 0o644),
			); err != nil {
				t.Fatal(err)
			}
			if tt.large {
				if err := os.Truncate(filepath.Join(dir, "archive"), 2049<<20); err != nil {
					t.Fatal(err)
				}
			}
			if tt.config == "" {
				j.image.Config = filepath.Join(dir, "no config")
			}
			if tt.modules != nil {
				var all []guest.Module
				for _, m := range tt.modules {
					all = append(all, guest.Module{Name: m})
				}
				var b strings.Builder
				j.modules = filepath.Join(dir, "modules")
				if err := errors.Join(guest.WriteModules(&b, all), os.WriteFile(j.modules, []byte(b.String()), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			if err = r.wantRoot(t.Context(), j); err == nil {
				err = r.findRoot(t.Context(), j)
			}
			if tt.err != "" {
				if err == nil || !regexp.MustCompile(tt.err).MatchString(err.Error()) {
					t.Errorf("%v, want %s", err, tt.err)
				}
				return
			}
			line := strings.Join(j.withRoot(qemu.Machine{Arch: arch}).Args(), " ") + " "
			if err != nil || !regexp.MustCompile(tt.line).MatchString(line) {
				t.Errorf("%v, %s\nwant %s", err, line, tt.line)
			}
			if share := strings.Contains(line, wire.HostTag); share != tt.host {
				t.Errorf("a share: %v", share)
			}
		})
	}
}

// With a root file system fewer kernels are unpacked ahead.
func TestUnpackedAhead(t *testing.T) {
	for _, tt := range []struct {
		root       Root
		jobs, want int
	}{
		{nil, 4, 6}, {madeRoot(""), 4, 4}, {madeRoot(""), 0, 1},
	} {
		if got := (&Config{Root: tt.root, Jobs: tt.jobs}).ahead(); got != tt.want {
			t.Errorf("%v, %d: %d, want %d", tt.root, tt.jobs, got, tt.want)
		}
	}
}
