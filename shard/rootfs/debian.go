package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/apt"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// debianSource is a list of packages of a Debian suite.
type debianSource struct {
	c                *kernel.Cache
	spec, rest, arch string
	packages         *apt.PackageSet
}

func (s *debianSource) key(ctx context.Context) (_ []string, err error) {
	s.packages, err = apt.FindPackages(ctx, s.spec, s.rest, s.arch, s.c)
	if err != nil {
		return nil, err
	}
	return append([]string{"debian"}, s.packages.Key()...), nil
}

// fill unpacks the packages and does by itself what programs need of what their
// scripts would do: those expect to run in the root, as root.
func (s *debianSource) fill(ctx context.Context, t *tree) (string, error) {
	t.merge = true
	var err error
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		err = errors.Join(err, t.link(d, "usr/"+d), t.add(&tar.Header{Typeflag: tar.TypeDir, Name: "usr/" + d, Mode: 0o755}, nil))
	}
	if err != nil {
		return "", err
	}
	var scripts postinst
	err = s.packages.Unpack(ctx, t.tmp, func(script string, r io.Reader) error {
		f, err := t.spool(ctx, r)
		if err == nil {
			err = t.apply(ctx, f)
		}
		scripts.read(script)
		return err
	})
	if err != nil {
		return "", err
	}
	return s.arch, t.configure(&scripts)
}

// alternative is where a link that several packages could provide leads.
type alternative struct {
	target   string
	priority int
}

// postinst is what scripts would do that programs need.
type postinst struct {
	choices map[string]alternative // by the link's name
	users   []string
}

// maxWishes caps what all scripts may want, as a count.
const maxWishes = 10_000

var (
	installRE = regexp.MustCompile(`--install\s+(/[\w./+-]+)\s+[\w.+-]+\s+(/[\w./+-]+)\s+(-?[0-9]{1,9})((?:\s+--slave\s+/[\w./+-]+\s+[\w.+-]+\s+/[\w./+-]+)*)`)
	slaveRE   = regexp.MustCompile(`--slave\s+(/[\w./+-]+)\s+[\w.+-]+\s+(/[\w./+-]+)`)
	adduserRE = regexp.MustCompile(`\badduser\s[^\n;|&>]*--system\s[^\n;|&>]*?([a-z_][a-z0-9_-]{0,31})[ \t]*(?:[\n;|&>]|$)`)
	sysuserRE = regexp.MustCompile(`(?m)^u!?[ \t]+([a-z_][a-z0-9_-]{0,31})[ \t]`)
)

// read notes what a script tells update-alternatives and adduser, where it does so
// in plain words.
func (p *postinst) read(script string) {
	script = strings.ReplaceAll(script, "\\\n", " ")
	if p.choices == nil {
		p.choices = map[string]alternative{}
	}
	for _, m := range installRE.FindAllStringSubmatch(script, -1) {
		priority, _ := strconv.Atoi(m[3]) // nine digits
		links := append([][]string{{"", m[1], m[2]}}, slaveRE.FindAllStringSubmatch(m[4], -1)...)
		for _, l := range links {
			if old, ok := p.choices[l[1]]; len(p.choices) < maxWishes && (!ok || priority > old.priority) {
				p.choices[l[1]] = alternative{l[2], priority}
			}
		}
	}
	p.want(adduserRE, script)
}

// want notes the users that a pattern finds.
func (p *postinst) want(re *regexp.Regexp, text string) {
	for _, m := range re.FindAllStringSubmatch(text, -1) {
		if len(p.users) < maxWishes {
			p.users = append(p.users, m[1])
		}
	}
}

// configure makes the files that scripts of packages would.
func (t *tree) configure(scripts *postinst) error {
	for _, name := range slices.Sorted(maps.Keys(scripts.choices)) {
		to := scripts.choices[name].target
		if _, err := t.find(to); err == nil && !t.has(name) {
			if err := t.link(name, to); err != nil {
				return err
			}
		}
	}
	if !t.has("/bin/sh") { // up to bullseye a question of debconf
		if err := t.link("/bin/sh", "dash"); err != nil {
			return err
		}
	}
	for _, c := range [][2]string{
		{"/usr/share/base-passwd/passwd.master", "/etc/passwd"},
		{"/usr/share/base-passwd/group.master", "/etc/group"},
		{"/usr/share/base-files/nsswitch.conf", "/etc/nsswitch.conf"},
		{"/usr/share/libc-bin/nsswitch.conf", "/etc/nsswitch.conf"},
		{"/usr/share/base-files/profile", "/etc/profile"},
	} {
		b, err := t.readFile(c[0], maxConfig)
		if errors.Is(err, fs.ErrNotExist) || t.has(c[1]) {
			continue
		}
		if err == nil {
			err = t.text(c[1], b)
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(t.addUsers(scripts), t.bundleCertificates())
}

// addUsers adds the users that daemons, and tcpdump, become.
func (t *tree) addUsers(scripts *postinst) error {
	const from = "/usr/lib/sysusers.d"
	if dir, err := t.find(from); err == nil {
		for _, name := range slices.Sorted(maps.Keys(dir.kids)) {
			if b, err := t.readFile(path.Join(from, name), maxConfig); err == nil {
				scripts.want(sysuserRE, string(b))
			}
		}
	}
	passwd, err := t.readFile("/etc/passwd", maxConfig)
	group, gerr := t.readFile("/etc/group", maxConfig)
	if err != nil || gerr != nil {
		return nil // a root without users
	}
	slices.Sort(scripts.users)
	id := 100 // the first that Debian gives to system users
	for _, u := range slices.Compact(scripts.users) {
		if bytes.Contains(append([]byte("\n"), passwd...), []byte("\n"+u+":")) {
			continue
		}
		passwd = fmt.Appendf(passwd, "%s:x:%d:%d::/nonexistent:/usr/sbin/nologin\n", u, id, id)
		group = fmt.Appendf(group, "%s:x:%d:\n", u, id)
		id++
	}
	return errors.Join(t.text("/etc/passwd", passwd), t.text("/etc/group", group))
}

// maxConfig caps a file that is copied or joined, in bytes.
const maxConfig = 16 << 20

// bundleCertificates does what update-ca-certificates is for.
func (t *tree) bundleCertificates() error {
	const from, bundle = "/usr/share/ca-certificates/mozilla", "/etc/ssl/certs/ca-certificates.crt"
	dir, err := t.find(from)
	if err != nil || !dir.isDir() || t.has(bundle) {
		return nil // the package is not part of this root
	}
	var all bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(dir.kids)) {
		b, err := t.readFile(path.Join(from, name), maxConfig)
		if err != nil {
			return err
		}
		if all.Write(b); all.Len() > maxConfig {
			return &bounded.LimitError{What: "size of the certificates", Limit: maxConfig}
		}
	}
	// OpenSSL looks for one file, and for links named by hashes that are not made.
	return errors.Join(t.text(bundle, all.Bytes()), t.link("/usr/lib/ssl/cert.pem", bundle))
}

func (t *tree) has(name string) bool {
	dir, base, err := t.resolve(name, false, false)
	return err == nil && (base == "" || dir.kids[base] != nil)
}

func (t *tree) link(name, to string) error {
	return t.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}, nil)
}

func (t *tree) text(name string, b []byte) error {
	return t.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(b))}, func() (io.ReadCloser, error) {
		return section{io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))}, nil
	})
}
