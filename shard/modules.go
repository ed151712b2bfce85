package shard

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// modulesArchive returns the path of the archive of the kernel's modules that
// the payload can use, of which init loads those called first, of its .config if the
// payload may look for that, and of the types that --btf has for it. It is made once for a kernel: finding modules
// takes a pass over hundreds of megabytes.
func (r *run) modulesArchive(ctx context.Context, im *kernel.Image, first []string) (string, error) {
	of := strings.Join(first, "\n")
	config := r.readsConfig && im.Config != "" && im.Release == path.Base(im.Release)
	if config {
		of += "\n/boot/config"
	}
	var types []byte
	if hostFacts(im).Config["DEBUG_INFO_BTF"] != "y" { // it needs none, nor loses by their faults
		var err error
		if types, err = r.BTF.Find(ctx, im.Ref); err != nil {
			return "", fmt.Errorf("--btf: %w", err)
		}
		types = image.BTFInOrder(types, goarch.Lookup(im.Arch).Order())
	}
	if types != nil {
		of += fmt.Sprintf("\n%s %x", wire.BTFPath, sha256.Sum256(types))
	}
	onDemand := r.Payload.OnDemand.Wants()
	if onDemand != nil {
		of += fmt.Sprintf("\n%s %d %s", wire.OnDemandPath, onDemandFormat, r.Payload.OnDemand.List())
	}
	names := sha256.Sum256([]byte(of))
	name := kernel.ModulesPrefix + hex.EncodeToString(names[:8]) + ".cpio"
	made := false
	file, err := im.DerivedChecked(ctx, r.Cache, name, func(w io.Writer) error {
		made = true
		found, err := im.Modules(ctx, first, onDemand)
		if err != nil {
			return err
		}
		modules := make([]guest.Module, len(found.First))
		for i, m := range found.First {
			modules[i] = guest.Module(m)
		}
		var files []guest.File
		if config {
			b, err := os.ReadFile(im.Config)
			if err != nil {
				return fmt.Errorf("read the .config of %s: %w", im.ID(), err)
			}
			files = append(files, guest.File{Path: guest.ConfigPath(im.Release), Mode: 0o644, Data: b})
		}
		if types != nil {
			files = append(files, guest.File{Path: wire.BTFPath, Mode: 0o644, Data: types})
		}
		if onDemand != nil {
			b, err := onDemandZip(found)
			if err != nil {
				return fmt.Errorf("pack the modules of %s: %w", im.ID(), err)
			}
			files = append(files,
				guest.File{Path: wire.DevicesPath, Mode: 0o644, Data: deviceNodes(found)},
				guest.File{Path: wire.OnDemandPath, Mode: 0o644, Data: b})
		}
		return guest.WriteModules(w, modules, files...)
	})
	if made { // else an old one may be this one
		im.KeepNewestDerived(kernel.ModulesPrefix, 2*keptModules) // each has its checksum beside it
	}
	return file, err
}

// keptModules is how many archives of a kernel's modules are kept, as there are
// sets of them that payloads ask for.
const keptModules = 8

// onDemandFormat changes when onDemandZip writes something else.
const onDemandFormat = 2

// onDemandZip writes the archive for wire.OnDemandPath, the same bytes for the
// same modules.
func onDemandZip(found kernel.Modules) ([]byte, error) {
	var b, index, others bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(found.All)) {
		if _, ok := found.OnDemand[name]; ok {
			fmt.Fprintln(&index, moduleInfo(name, found.Info[name]))
		} else {
			fmt.Fprintln(&others, name)
		}
	}
	slices.Sort(found.Builtin)
	builtin := strings.Join(found.Builtin, "\n")
	zw := zip.NewWriter(&b)
	for _, list := range []struct {
		name string
		data []byte
	}{
		{wire.OnDemandIndex, index.Bytes()}, {wire.OnDemandOthers, others.Bytes()}, {wire.OnDemandBuiltin, []byte(builtin)},
	} {
		w, err := zw.Create(list.name)
		if err == nil {
			_, err = w.Write(list.data)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found.OnDemand)) {
		m := found.OnDemand[name]
		w, err := zw.CreateRaw(&zip.FileHeader{
			Name: name + ".ko", Method: zip.Deflate, CRC32: m.CRC32,
			CompressedSize64: uint64(len(m.Data)), UncompressedSize64: uint64(m.Size),
		})
		if err == nil {
			_, err = w.Write(m.Data)
		}
		if err != nil {
			return nil, err
		}
	}
	err := zw.Close()
	return b.Bytes(), err
}

// moduleInfo is what the guest has to know of a module. Aliases with a colon are
// of devices: only udev, which the guest has not, asks for them.
func moduleInfo(name string, m image.Modinfo) wire.ModuleInfo {
	aliases := slices.DeleteFunc(slices.Clone(m.Aliases), func(a string) bool { return strings.Contains(a, ":") })
	return wire.ModuleInfo{Name: name, Depends: m.Depends, Pre: m.Pre, Post: m.Post, Aliases: aliases}
}

// deviceNodes is the file at wire.DevicesPath. A module has aliases for it, such as
// "devname:net/tun" and "char-major-10-200".
func deviceNodes(found kernel.Modules) []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(found.OnDemand)) {
		dev, major, minor := "", 0, 0
		for _, a := range found.Info[name].Aliases {
			if name, ok := strings.CutPrefix(a, "devname:"); ok && path.Clean("/"+name) == "/"+name {
				dev = name
			}
			var ma, mi int
			if n, _ := fmt.Sscanf(a, "char-major-%d-%d", &ma, &mi); n == 2 {
				major, minor = ma, mi
			}
		}
		if dev != "" && major > 0 {
			fmt.Fprintf(&b, "%s %d %d\n", dev, major, minor)
		}
	}
	return b.Bytes()
}
