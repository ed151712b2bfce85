package guest

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Cover has init collect the coverage profile that a test program's arguments
// ask for. If asked is set it asks for one itself: of a Go test binary by its
// argument, of any other program by GOCOVERDIR. file names the program in errors,
// and dir is its working directory in the guest.
func (p *Payload) Cover(file, dir string, asked bool) error {
	at := slices.Index(p.Job.Args, "--") + 1
	if at == 0 || at == len(p.Job.Args) {
		return nil
	}
	if !slices.Contains(p.Job.Args[:at], "--go-test") {
		if asked {
			p.Job.Cover = wire.CoverDir
		}
		return nil
	}
	p.Job.Cover = coverProfile(p.Job.Args[at+1:], dir)
	if !asked {
		return nil
	}
	if !p.covered {
		return &PayloadError{Path: file, Reason: "is not built for --cover: build it with go test -c -cover -coverpkg=./..."}
	}
	if p.Job.Cover == "" {
		p.Job.Args = slices.Insert(slices.Clone(p.Job.Args), at+1, "-test.coverprofile="+wire.CoverProfile)
		p.Job.Cover = wire.CoverProfile
	}
	return nil
}

// coverProfile is where a Go test binary in dir writes its coverage profile, ""
// for nowhere.
func coverProfile(args []string, dir string) string {
	values := map[string]string{}
	for i, a := range args {
		name, value, set := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if a == "--" {
			break
		}
		if !set && i+1 < len(args) {
			value = args[i+1]
		}
		if strings.HasPrefix(a, "-") && (name == "test.coverprofile" || name == "test.outputdir") {
			values[name] = value
		}
	}
	profile := values["test.coverprofile"]
	if profile == "" {
		return ""
	}
	for _, d := range []string{values["test.outputdir"], dir, "/"} {
		if !path.IsAbs(profile) {
			profile = path.Join(d, profile)
		}
	}
	return path.Clean(profile)
}

// CheckPattern returns a pattern of files to collect as it is in the guest, where
// dir is the working directory.
func CheckPattern(pattern, dir string) (string, error) {
	const most = 500 // bytes
	abs := pattern
	if !path.IsAbs(abs) {
		abs = path.Join("/", dir, abs)
	}
	_, err := path.Match(abs, "")
	if pattern == "" || len(abs) > most || strings.ContainsAny(abs, "\x00\n") || err != nil {
		return "", fmt.Errorf("%.100q: want the path of a file or directory in the guest, with *, ? and [a-z] as in file names, of %d bytes at most", pattern, most)
	}
	return path.Clean(abs), nil
}
