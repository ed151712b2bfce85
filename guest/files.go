package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Limits of a payload. QEMU puts the initramfs below the hole that PCs have in
// their memory from 3 GiB on, and kernels take three times its size: Memory.
const (
	maxFiles     = 10_000
	maxFileBytes = 2 << 30 // of all files of a payload, its programs included
)

// AddFile puts a file of the host, or a directory with all that is in it, into
// the guest. spec is SRC[:DST], cut at the last colon. DST is an absolute, clean
// path; with a slash at its end it is the directory that SRC goes into; without
// DST, SRC goes into "/". Modes are kept, set-user-ID and the like included, and
// owners are root. In directories, links to files become copies of them, and links
// to anything else are refused.
//
// An error is one line that names spec and ends with what to do.
func (p *Payload) AddFile(spec string) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%q: %s", spec, fmt.Sprintf(format, args...))
	}
	src, dst := spec, "/"
	if at := strings.LastIndexByte(spec, ':'); at >= 0 {
		src, dst = spec[:at], spec[at+1:]
	}
	if src == "" {
		return bad("no file is named: want SRC or SRC:DST")
	}
	if strings.HasSuffix(dst, "/") {
		abs, err := filepath.Abs(src)
		if err != nil || abs == "/" {
			return bad("%s has no name to take in the guest: want SRC:DST with a DST such as /data", src)
		}
		dst += filepath.Base(abs)
	}
	if !path.IsAbs(dst) || path.Clean(dst) != dst || strings.ContainsAny(dst, "\x00\n") {
		return bad("%q is no place in the guest: want an absolute path without . and .., such as /data/%s", dst, filepath.Base(src))
	}
	if why := Reserved(dst); why != "" {
		return bad("%s %s: want another DST", dst, why)
	}
	info, err := os.Stat(src)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return bad("%s does not exist: want a file or a directory", src)
	case err != nil:
		return bad("%s cannot be read: %v", src, errors.Unwrap(err))
	}
	if info.IsDir() {
		err = p.addTree(src, dst)
	} else {
		err = p.addRegular(src, dst, info)
	}
	if err != nil {
		return bad("%v", err)
	}
	return nil
}

// HasDir says whether the guest has a directory before the payload runs: one of
// init's own, or one of the payload's.
func (p *Payload) HasDir(dir string) bool {
	own := []string{"/", "/etc", "/mnt", "/root", "/tmp", "/var/tmp"}
	return slices.Contains(own, dir) || slices.ContainsFunc(p.Files, func(f File) bool {
		return within(f.Path, dir) && (f.Path != dir || f.Mode.IsDir())
	})
}

// CheckModule says what is wrong with a kernel module's name.
func CheckModule(name string) error {
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{1,55}$`).MatchString(name) { // MODULE_NAME_LEN less its end
		return fmt.Errorf("%q: want a module's name as lsmod shows it, such as overlay", name)
	}
	return nil
}

// within says whether a path is a directory's or of what is in it.
func within(p, dir string) bool {
	rest, ok := strings.CutPrefix(p, dir)
	return ok && (rest == "" || rest[0] == '/')
}

// Reserved says why a path of the guest is not to be had; empty: it is.
func Reserved(dst string) string {
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run", "/tmp"} {
		if within(dst, dir) {
			return "is hidden in the guest by what is mounted on " + dir
		}
	}
	for _, dir := range []string{"/var/run", "/var/lock"} {
		if within(dst, dir) {
			return "is hidden in the guest, whose " + dir + " is a link into /run"
		}
	}
	for _, own := range []string{
		"/init", wire.JobPath, "/.root", wire.RootDir, wire.XattrsPath, wire.TestrunnerPath, wire.ModprobePath,
		wire.ModulesDir, wire.OwnModulesDir, wire.HereDir,
	} {
		if within(dst, own) {
			return "is taken by the guest's own " + own
		}
	}
	return ""
}

var errTooMuch = fmt.Errorf("more than the %d MiB or %d files a guest takes: leave something out", maxFileBytes>>20, maxFiles)

// add adds a file, or a directory itself. A directory may be there: the first
// one's mode holds.
func (p *Payload) add(file File) error {
	for _, other := range p.Files {
		same := file.Path == other.Path
		switch {
		case same && file.Mode.IsDir() && other.Mode.IsDir():
			return nil
		case within(file.Path, other.Path) && !other.Mode.IsDir() && (!same || file.Mode.IsDir()):
			return fmt.Errorf("%s is a file already: want another DST", other.Path)
		case within(other.Path, file.Path) && !file.Mode.IsDir():
			return fmt.Errorf("%s is there already: want another DST", file.Path)
		}
	}
	if len(p.Files) >= maxFiles {
		return errTooMuch
	}
	p.Files = append(p.Files, file)
	return nil
}

func (p *Payload) addRegular(src, dst string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is neither a file nor a directory: leave it out", src)
	}
	if p.size()+info.Size() > maxFileBytes {
		return errTooMuch
	}
	b, err := os.ReadFile(src)
	if err != nil {
		return fmt.Errorf("%s cannot be read: %w", src, errors.Unwrap(err))
	}
	return p.add(File{Path: dst, Mode: info.Mode() & modeBits, Data: b, Source: src})
}

// size is that of all files, in bytes.
func (p *Payload) size() int64 {
	var n int64
	for _, f := range p.Files {
		n += int64(len(f.Data))
	}
	return n
}

// modeBits of a file's mode are kept.
const modeBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

func (p *Payload) addTree(src, dst string) error {
	// The directory may be named by a link, which WalkDir does not follow.
	root, err := filepath.EvalSymlinks(src)
	if err != nil {
		return fmt.Errorf("%s cannot be read: %w", src, err)
	}
	return filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("%s cannot be read: %w", at, errors.Unwrap(err))
		}
		info, err := os.Stat(at)
		if err != nil {
			return fmt.Errorf("%s cannot be read: %w", at, errors.Unwrap(err))
		}
		if info.IsDir() && !d.IsDir() {
			return fmt.Errorf("%s is a link to a directory: name that directory with a --file of its own", at)
		}
		rel, err := filepath.Rel(root, at)
		if err != nil {
			return err
		}
		to := path.Join(dst, filepath.ToSlash(rel))
		if strings.ContainsAny(to, "\x00\n") {
			return fmt.Errorf("%q has a newline in its name: rename it", at)
		}
		if ok, _ := path.Match("gha-creds-*.json", path.Base(to)); ok {
			return nil // google-github-actions/auth leaves it in the workspace
		}
		if d.IsDir() {
			return p.add(File{Path: to, Mode: fs.ModeDir | info.Mode()&modeBits})
		}
		return p.addRegular(at, to, info)
	})
}

var envKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// CheckEnv says what is wrong with an environment variable for a payload, K=V,
// in one line that ends with what to do.
func CheckEnv(kv string) error {
	key, value, ok := strings.Cut(kv, "=")
	switch {
	case !ok || !envKey.MatchString(key):
		return fmt.Errorf("%q: want NAME=VALUE, the name of letters, digits and underscores", key)
	case strings.ContainsRune(value, 0):
		return fmt.Errorf("%q: the value has a NUL byte: leave it out", key)
	case key == wire.ReportFDEnv:
		return fmt.Errorf("%q: the guest sets this variable itself: leave it out", key)
	}
	return nil
}
