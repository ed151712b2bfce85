package apt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/child"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

const aptHelper = "/usr/lib/apt/apt-helper" // part of the package apt, in no PATH

// privateRoot is a private apt: its own sources, lists, cache and configuration, so
// that neither side disturbs the other. Of the host it takes only what is about
// reaching mirrors.
type privateRoot struct {
	dir     string
	suite   string
	arch    string
	archive mirrors
	any     *anyRepository // in place of a distribution
	cache   *kernel.Cache
}

func (r *privateRoot) title() string { return r.archive.vendor + " " + r.suite }
func (r *privateRoot) lists() string { return filepath.Join(r.dir, "state", "lists") }
func (r *privateRoot) conf() string  { return filepath.Join(r.dir, "apt.conf") }

// setUp writes the configuration; it needs no lists.
func (r *privateRoot) setUp(ctx context.Context) error {
	if strings.ContainsFunc(r.dir, func(c rune) bool { return c < ' ' || c == '"' || c == ';' || c == '\\' }) {
		return fmt.Errorf("apt cannot work in %q: choose a cache directory without quotes, semicolons, backslashes and control characters", r.dir)
	}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "etc/parts", "etc/sources.list.d", "log"} {
		if err := os.MkdirAll(filepath.Join(r.dir, d), 0o755); err != nil {
			return fmt.Errorf("set up private apt root: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(r.dir, "status"), nil, 0o644); err != nil {
		return fmt.Errorf("set up private apt root: %w", err)
	}
	host, err := hostAcquire(ctx)
	if err != nil {
		return err
	}
	// A proxy's password may be among the host's settings.
	err = kernel.WriteAtomic(r.conf(), 0o600, func(w io.Writer) error {
		_, err := io.WriteString(w, r.config(host))
		return err
	})
	if err != nil {
		return fmt.Errorf("set up private apt root: %w", err)
	}
	return nil
}

// config returns apt.conf. apt reads the file that APT_CONFIG names first, so
// the directories it sets keep the host's own files out: hooks, pinning,
// docker-clean and the like.
func (r *privateRoot) config(host string) string {
	p := func(elem string) string { return `"` + filepath.Join(r.dir, elem) + `"` }
	return strings.Join([]string{
		"Dir::State " + p("state") + ";",
		"Dir::State::lists " + p("state/lists") + ";",
		"Dir::State::status " + p("status") + ";",
		"Dir::Cache " + p("cache") + ";",
		"Dir::Log " + p("log") + ";",
		"Dir::Etc::main \"/dev/null\";",
		"Dir::Etc::parts " + p("etc/parts") + ";",
		"Dir::Etc::sourcelist \"/dev/null\";",
		"Dir::Etc::sourceparts " + p("etc/sources.list.d") + ";",
		"Dir::Etc::preferences \"/dev/null\";",
		"Dir::Etc::preferencesparts " + p("etc/parts") + ";",
		"Dir::Etc::trusted \"/dev/null\";",
		"Dir::Etc::trustedparts " + p(keysDir) + ";",
		`Dir::Etc::netrc "/etc/apt/auth.conf";`, // mirrors that want a login
		`Dir::Etc::netrcparts "/etc/apt/auth.conf.d";`,
		`APT::Architecture "` + r.arch + `";`,
		`APT::Architectures { "` + r.arch + `"; };`,
		// As root, apt would become _apt, which cannot enter a home directory.
		`APT::Sandbox::User "root";`,
		`Acquire::Languages "none";`,
		`Acquire::PDiffs "false";`,
		`Acquire::GzipIndexes "false";`,
		`Acquire::AllowInsecureRepositories "false";`,
		`Acquire::AllowWeakRepositories "false";`,
		`Acquire::AllowDowngradeToInsecureRepositories "false";`,
		`pkgCacheFile::Generate "false";`, // which nothing here reads, at a second and 70 MB
		`APT::Update::Error-Mode "any";`,  // an index that could not be fetched is an error
	}, "\n") + "\n" + host
}

// hostAcquire returns the host's settings about reaching mirrors, in the syntax
// of apt.conf.
func hostAcquire(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "apt-config", "dump")
	cmd.Env = append(child.Environ(), "LC_ALL=C")
	out, err := child.Output(cmd)
	if err != nil {
		return "", aptMissing(err, "read the host's apt configuration")
	}
	return filterAcquire(string(out)), nil
}

// filterAcquire keeps what tells how to reach a mirror. Check-Valid-Until is
// not among it, nor Check-Date, which turns the former off as well: a list past
// its time is used, but never without a warning.
func filterAcquire(dump string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(dump, "\n") {
		if acquireRE.MatchString(line) {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

var acquireRE = regexp.MustCompile(`(?i)^Acquire::(https?(::[^ "]*)?|tor(::[^ "]*)?|ftp::[^ "]*|Retries(::[^ "]*)?|ForceIPv[46]|Queue-Mode|EnableSrvRecords|SameMirrorRetries) ".*";$`)

func aptMissing(err error, doing string) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: apt is not installed: packages of Debian and Ubuntu need a Debian or Ubuntu host; elsewhere use a directory of kernels, or an image for --rootfs", doing)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// part is one suite of the sources.
type part struct {
	suite, url string
	optional   bool // the suite is complete without it, though with fewer kernels
	expired    bool // accept a Release file past its Valid-Until
}

func (r *privateRoot) parts() []part {
	main, security := r.suites()
	var parts []part
	for i, s := range main {
		parts = append(parts, part{suite: s, url: r.archive.main, optional: i > 0})
	}
	for _, s := range security {
		parts = append(parts, part{suite: s, url: r.archive.security, optional: true})
	}
	return parts
}

// suites is [suiteParts] of a distribution.
func (r *privateRoot) suites() (main, security []string) {
	if r.any != nil {
		return []string{r.suite}, nil
	}
	return suiteParts(r.suite)
}

func (r *privateRoot) sources(parts []part) string {
	components := "Components: main\n"
	if r.any != nil {
		components = r.any.fields()
	}
	var b strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&b, "Types: deb\nURIs: %s\nSuites: %s\n%sArchitectures: %s\n", p.url, p.suite, components, r.arch)
		if p.expired {
			b.WriteString("Check-Valid-Until: no\n")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// list returns the paths of a suite's package lists: one of each component.
func (r *privateRoot) list(suite string) []string {
	// The name starts with the mirror's URL, of which apt decides the spelling.
	pattern := "*_dists_" + suite + "_main_binary-" + r.arch + "_Packages"
	if r.any != nil {
		pattern = "*_Packages" // apt keeps none but those of its sources
	}
	found, _ := filepath.Glob(filepath.Join(r.lists(), pattern))
	if r.any == nil && len(found) != 1 {
		return nil
	}
	return found
}

// update runs apt-get update, and again for what it may go on without: suites
// that the mirror does not have, and Release files past their time. The caller
// holds the root's lock.
func (r *privateRoot) update(ctx context.Context) error {
	if err := r.setUp(ctx); err != nil {
		return err
	}
	if err := r.trust(); err != nil {
		return err
	}
	for parts, again := r.parts(), true; again; {
		file := filepath.Join(r.dir, "etc", "sources.list.d", "debian.sources")
		if err := os.WriteFile(file, []byte(r.sources(parts)), 0o600); err != nil {
			return fmt.Errorf("set up private apt root: %w", err)
		}
		out, err := r.run(ctx, "apt-get", "update", "-q")
		// Where there are lists from before, an apt that does not know
		// Error-Mode takes a bad signature for a warning, and succeeds.
		if err == nil && (!signatureRE.MatchString(out) || r.any != nil && r.any.trusted) {
			if m := componentRE.FindStringSubmatch(out); m != nil && r.any != nil { // which apt only warns about
				return kernel.Usagef("%s has no component %q: it has %s", r.title(), m[1], bounded.OneLine(r.releaseField("Components")))
			}
			break
		}
		if ctx.Err() != nil {
			return fmt.Errorf("fetch package lists of %s: %w", r.title(), context.Cause(ctx))
		}
		if errors.Is(err, exec.ErrNotFound) {
			return aptMissing(err, "fetch package lists of "+r.title())
		}
		if parts, again = r.tolerate(out, parts); !again {
			return r.updateError(out, err)
		}
	}
	if len(r.list(r.suite)) == 0 {
		if has := r.releaseField("Architectures"); has != "" && !slices.Contains(strings.Fields(has), r.arch) {
			return kernel.Usagef("%s has no %s at the mirror %s: it has %s", r.title(), r.arch, report.Redact(r.archive.main), bounded.OneLine(has))
		}
		return fmt.Errorf("fetch package lists of %s from %s: there is no list for %s", r.title(), report.Redact(r.archive.main), r.arch)
	}
	return nil
}

// tolerate returns the parts to try again with.
func (r *privateRoot) tolerate(out string, parts []part) ([]part, bool) {
	parts, again := slices.Clone(parts), false
	for line := range strings.SplitSeq(out, "\n") {
		for i := 0; i < len(parts); i++ {
			p := &parts[i]
			switch {
			case !p.expired && (r.any != nil || strings.Contains(line, "/dists/"+p.suite+"/")) && strings.Contains(line, "is expired"):
				r.cache.Warnf("%s %s: the lists of the mirror %s are out of date; their signature is good, so they are used", r.archive.vendor, p.suite, report.Redact(p.url))
				p.expired, again = true, true
			case p.optional && strings.Contains(line, " "+p.suite+" Release' does not have a Release file"):
				r.cache.Warnf("%s: the mirror %s does not have %s; its kernels are left out", r.title(), report.Redact(p.url), p.suite)
				parts, again = slices.Delete(parts, i, i+1), true
				i--
			case p.optional && strings.Contains(line, "/dists/"+p.suite+"/") && strings.Contains(line, "Mirror sync in progress"):
				// Its Release file is signed, and the list is another one.
				r.cache.Warnf("%s: the mirror %s is being updated: its list of %s is not the one that its Release file names; its kernels are left out", r.title(), report.Redact(p.url), p.suite)
				parts, again = slices.Delete(parts, i, i+1), true
				i--
			}
		}
	}
	return parts, again
}

var componentRE = regexp.MustCompile(`doesn't have the component '([^']*)'`)

// signatureRE finds what apt says about signatures: up to 2.x of gpgv, from 3.0
// of sqv.
var signatureRE = regexp.MustCompile(`GPG error|OpenPGP signature verification failed|error occurred during the signature verification|is not signed|NO_PUBKEY|BADSIG`)

func (r *privateRoot) updateError(out string, err error) error {
	doing := fmt.Sprintf("fetch package lists of %s from %s", r.title(), report.Redact(r.archive.main))
	text := aptErrors(out)
	switch {
	case signatureRE.MatchString(out):
		return fmt.Errorf("%s: %w: %s: check the mirror, or name the keys that it is signed with by ,key=FILE", doing, kernel.ErrSignature, text)
	case r.any != nil && strings.Contains(text, "does not have a Release file"):
		return kernel.Usagef("%s: %s Check the address and the suite", doing, text)
	case text == "":
		return fmt.Errorf("%s: apt-get update: %w", doing, err)
	}
	return fmt.Errorf("%s: %s", doing, text)
}

// aptErrors returns apt's E: and W: lines as one.
func aptErrors(out string) string {
	var errs, warns []string
	for line := range strings.SplitSeq(out, "\n") {
		if s, ok := strings.CutPrefix(line, "E: "); ok {
			errs = append(errs, s)
		} else if s, ok := strings.CutPrefix(line, "W: "); ok {
			warns = append(warns, s)
		}
	}
	return bounded.OneLine(report.Redact(strings.Join(append(errs, warns...), "; ")))
}

// run runs a program of apt in the private root; out is what it said.
func (r *privateRoot) run(ctx context.Context, name string, args ...string) (out string, err error) {
	return r.runTo(ctx, nil, name, args...)
}

// runTo is run with the standard output going to stdout, unless that is nil.
func (r *privateRoot) runTo(ctx context.Context, stdout io.Writer, name string, args ...string) (out string, err error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(child.Environ(), "APT_CONFIG="+r.conf(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.Dir = r.dir
	var both bounded.Tail
	cmd.Stdout, cmd.Stderr = &both, &both
	if stdout != nil {
		cmd.Stdout = stdout
	}
	// apt's methods are children that hold its pipes: end apt by a signal that
	// it can pass on, and do not wait for them for ever.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err = child.Run(cmd)
	return strings.ReplaceAll(both.String(), "\r", "\n"), err
}

// stanzasVersion has to change when what [parsePackages] makes of a list does.
const stanzasVersion = "3"

// stanzas reads the kernel packages out of the lists, each of them once.
func (r *privateRoot) stanzas() ([]stanza, error) {
	var all []stanza
	main, security := r.suites()
	for i, suite := range append(slices.Clone(main), security...) {
		// One that is optional may have none: its absence was warned about.
		for _, path := range r.list(suite) {
			var list []stanza
			err := r.cache.RememberOf(path, stanzasVersion, &list, func() (bool, error) {
				f, err := os.Open(path)
				if err != nil {
					return false, err
				}
				defer f.Close()
				list, err = parsePackages(f, isKernelPackage)
				return true, err
			})
			if err != nil {
				return nil, fmt.Errorf("read package list: %q: %w", path, err)
			}
			for j := range list {
				list[j].Archive = archiveMain
				if i >= len(main) {
					list[j].Archive = archiveSecurity
				}
			}
			all = append(all, list...)
		}
	}
	return all, nil
}

// download fetches package files to paths by apt's own transport, so proxies and
// logins work. Neither needs lists, so a job that was handed its Refs fetches its
// kernels and nothing else.
func (r *privateRoot) download(ctx context.Context, debs []deb, paths []string) error {
	doing := "fetch packages of " + r.title()
	args := []string{"download-file"}
	for i, d := range debs {
		uri := r.uri(d)
		if rest, ok := strings.CutPrefix(uri, "file:"); ok {
			uri = "copy:" + strings.TrimPrefix(rest, "//") // file: would leave a link
		}
		if len(debs) == 1 {
			doing = "fetch " + report.Redact(uri)
		}
		args = append(args, uri, paths[i], "SHA256:"+d.SHA256)
	}
	out, err := r.run(ctx, aptHelper, args...)
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	if errors.Is(err, os.ErrNotExist) {
		return aptMissing(err, doing)
	}
	if err != nil {
		hint := ""
		if strings.Contains(out, "404") {
			hint = ": the mirror no longer has it; list the kernels again"
		}
		return fmt.Errorf("%s: %w: %s%s", doing, err, aptErrors(out), hint)
	}
	for i, d := range debs {
		got, err := kernel.HashFile(ctx, paths[i])
		if err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		if want := kernel.DigestPrefix + d.SHA256; got != want {
			return fmt.Errorf("%s: %w", doing, &kernel.DigestError{What: filepath.Base(d.File), Want: want, Got: got})
		}
		if err := os.Chmod(paths[i], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// uri returns where a package is.
func (r *privateRoot) uri(d deb) string {
	return r.archive.url(d.Archive) + "/" + strings.ReplaceAll(d.File, "%", "%25")
}

// probeRE finds apt's words about a file that it was to fetch and that is not
// there, or has more than one byte. What follows two blanks is the server's
// answer, which begins with its status.
var probeRE = regexp.MustCompile(`(?m)^E: Failed to fetch (\S+)  (?:(404|410)  |File has unexpected size \([0-9]+ != 1\))`)

// probe asks the mirror for packages by apt's own transport, as download does:
// true for one that is gone, false for one that is there. apt fetches no more
// than the header of an answer that is longer than the byte it is told to expect.
func (r *privateRoot) probe(ctx context.Context, debs []deb) map[deb]bool {
	dir, err := os.MkdirTemp(r.dir, "probe-") // for the empty files that apt leaves
	if err != nil {
		return nil
	}
	defer os.RemoveAll(dir)
	// apt writes an address without its password, and with other escapes.
	place := func(uri string) string {
		u, err := url.Parse(uri)
		if err != nil {
			return ""
		}
		return u.Scheme + "://" + u.Host + u.Path
	}
	args := []string{"download-file", "-qq", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=10", "-o", "Acquire::https::Timeout=10"}
	for i, d := range debs {
		args = append(args, r.uri(d), filepath.Join(dir, strconv.Itoa(i)), "Checksum-FileSize:1")
	}
	out, _ := r.run(ctx, aptHelper, args...) // fails if it works
	answers := map[string]bool{}
	for _, m := range probeRE.FindAllStringSubmatch(out, -1) {
		answers[place(m[1])] = m[2] != ""
	}
	known := map[deb]bool{}
	for _, d := range debs {
		if gone, ok := answers[place(r.uri(d))]; ok {
			known[d] = gone
		}
	}
	return known
}
