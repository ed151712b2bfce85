package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Names of the guest's programs.
const (
	Init       = "init" // is /testrunner as well
	Generators = "generators"
	Tracer     = "tracer"
	Loader     = "loader"
	Shell      = "shell"
	Libbpf     = "libbpf" // the loader of objects on libbpf, which is written in C
)

const module = "github.com/elastic/bpf-kernel-check"

// ErrNoPrograms is wrapped by Program's errors when this binary holds no guest
// programs and they cannot be built here.
var ErrNoPrograms = errors.New("this build holds no guest programs: build it with make, or have Go installed")

// Program returns the executable of a guest program for an architecture
// (GOARCH's names). Released binaries hold all of them; others, such as those of
// go run, go install and go test, build them with the go command, which caches
// them.
func Program(ctx context.Context, arch, name string) ([]byte, error) {
	if name == Libbpf {
		return libbpfLoader(arch)
	}
	if embedded != nil {
		b, err := unpack(arch, name)
		if err != nil {
			return nil, fmt.Errorf("guest program %s for %s is not in this build: %w", name, arch, err)
		}
		return b, nil
	}
	dir, err := os.MkdirTemp("", "bpf-kernel-check-build-")
	if err != nil {
		return nil, fmt.Errorf("make a directory to build in: %w", err)
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, name)
	if err := Build(ctx, arch, name, out); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}

// unpack decompresses a program as pack.go has compressed it: init alone, and the
// others by init, with which they share a third and more of their bytes. It takes
// some 10 ms each.
func unpack(arch, name string) ([]byte, error) {
	b, err := embedded("programs/" + arch + "/" + name + ".zst")
	if err != nil {
		return nil, err
	}
	opts := []zstd.DOption{zstd.WithDecoderConcurrency(1)}
	if name != Init {
		dict, err := unpack(arch, Init)
		if err != nil {
			return nil, err
		}
		opts = append(opts, zstd.WithDecoderDictRaw(1, dict))
	}
	dec, err := zstd.NewReader(nil, opts...)
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return dec.DecodeAll(b, nil)
}

// BuildFlags are the go build flags of the guest's programs: small, and the
// same bytes from any directory.
func BuildFlags() []string {
	return []string{"-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid="}
}

// Build compiles a guest program with the go command to the file out. Further
// flags come last and win.
func Build(ctx context.Context, arch, name, out string, flags ...string) error {
	goCmd, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("build guest program %s: %w", name, ErrNoPrograms)
	}
	root, err := sourceRoot(ctx, goCmd)
	if err != nil {
		return err
	}
	args := append([]string{"build", "-o", out}, append(BuildFlags(), flags...)...)
	cmd := exec.CommandContext(ctx, goCmd, append(args, "./guest/"+name)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOWORK=off")
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build guest program %s for %s: %w\n%s", name, arch, err, b)
	}
	return nil
}

// sourceRoot finds this module's sources: where this package was compiled from,
// or the module cache.
func sourceRoot(ctx context.Context, goCmd string) (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		root := filepath.Dir(filepath.Dir(file))
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			return root, nil
		}
	}
	version := "latest"
	if info, ok := debug.ReadBuildInfo(); ok && strings.HasPrefix(info.Main.Version, "v") {
		version = info.Main.Version
	}
	cmd := exec.CommandContext(ctx, goCmd, "mod", "download", "-json", module+"@"+version)
	cmd.Dir = os.TempDir() // outside any module
	b, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("find the sources of %s@%s: %w", module, version, ErrNoPrograms)
	}
	var m struct{ Dir string }
	if err := json.Unmarshal(b, &m); err != nil || m.Dir == "" {
		return "", fmt.Errorf("find the sources of %s@%s: %w", module, version, ErrNoPrograms)
	}
	return m.Dir, nil
}
