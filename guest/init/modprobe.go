package main

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// moduleTools are the programs for modules that this one is by other names. What
// the kernel runs for a module that something asks for stands at the root: a root
// file system's own modprobe knows nothing of this kernel.
var moduleTools = map[string]func(o *moduleStore, args []string) error{
	"modprobe": (*moduleStore).modprobe, "insmod": insmod, "rmmod": rmmod, "lsmod": lsmod, "modinfo": (*moduleStore).modinfo,
}

// requestsPath is where modprobe leaves for init what was asked for. Each line has
// a request, the module that meets it, and an error, empty if it was loaded, with
// tabs between them.
const requestsPath = "/run/modprobe"

const (
	maxRequests = 64 << 10 // bytes of requestsPath
	shownMost   = 50       // requests that were not met and that the host is told of
	maxLoaded   = 2 << 10  // bytes of the names of what was loaded: the console has to keep what is behind them
)

// errAbsent is of a name that no module goes by.
var errAbsent = errors.New("no module has this name")

// serveModules makes the kernel's requests for modules come to this program, if
// the kernel came with modules for that. The root file system is in place. It
// returns the file of requests, which the payload can write to and not replace.
// usersRoot says that the root file system is the user's: programs for modules in
// another are the payload's.
func serveModules(usersRoot bool) (requests *os.File, err error) {
	_ = os.MkdirAll("/sbin", 0o755)
	link := func(tool string) {
		for _, dir := range []string{"/sbin/", "/usr/sbin/"} {
			_ = os.Symlink("/proc/1/exe", dir+tool) // those that are there are good as they are
		}
	}
	for _, tool := range []string{"insmod", "rmmod", "lsmod"} {
		link(tool)
	}
	if _, err := os.Stat(wire.DevicesPath); err != nil {
		return nil, nil
	}
	if usersRoot { // they would look for lists that only depmod makes
		_, _ = os.Remove("/sbin/modprobe"), os.Remove("/usr/sbin/modprobe")
	}
	link("modprobe")
	link("modinfo")
	requests, err = os.OpenFile(requestsPath, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return nil, wrap("make the file of modules that are asked for", err)
	}
	errs := []error{os.Symlink("/proc/1/exe", wire.ModprobePath), os.WriteFile("/proc/sys/kernel/modprobe", []byte(wire.ModprobePath), 0)}
	b, err := os.ReadFile(wire.DevicesPath)
	for line := range strings.Lines(string(b)) {
		var name string
		var major, minor uint32
		if n, _ := fmt.Sscan(line, &name, &major, &minor); n == 3 && filepath.IsLocal(name) {
			node := filepath.Join("/dev", name)
			_ = os.MkdirAll(filepath.Dir(node), 0o755)
			_ = unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(major, minor))) // unless it is there
		}
	}
	return requests, wrap("serve the kernel's requests for modules", errors.Join(append(errs, err)...))
}

// requestedModules returns the modules that the kernel or the payload asked for
// and did not get, and the names of those that it got.
func requestedModules(requests *os.File) (failed []wire.Module, loaded string) {
	if requests == nil {
		return nil, ""
	}
	b, _ := io.ReadAll(io.LimitReader(requests, maxRequests))
	return parseRequests(string(b))
}

func parseRequests(text string) (failed []wire.Module, loaded string) {
	var names []string
	for line := range strings.Lines(text) {
		request, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		name, why, ok := strings.Cut(rest, "\t")
		if !ok || name == "" {
			continue
		}
		if why == "" {
			names = append(names, name)
			continue
		}
		m := wire.Module{Name: wire.Truncate(name, wire.MaxName), Error: wire.Truncate(why, wire.MaxName)}
		if why == notBrought {
			m.Error = wire.Truncate(fmt.Sprintf("the kernel asked for %s: --module %s", request, name), wire.MaxName)
		}
		if !slices.Contains(failed, m) && len(failed) < shownMost {
			failed = append(failed, m)
		}
	}
	slices.Sort(names)
	return failed, wire.Truncate(strings.Join(slices.Compact(names), ", "), maxLoaded)
}

const notBrought = "not brought"

// runModuleTool is the main function of a module's tool.
func runModuleTool(name string, args []string) {
	o := &moduleStore{zipPath: wire.OnDemandPath, fetch: fetchOnDemand, load: loadModule, present: modulePresent, out: os.Stdout, note: noteRequest}
	if err := moduleTools[name](o, args); err != nil {
		if !o.quiet {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		}
		os.Exit(1)
	}
	os.Exit(0)
}

func noteRequest(request, module, why string) {
	f, err := os.OpenFile(requestsPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() < maxRequests {
		fmt.Fprintf(f, "%s\t%s\t%s\n", oneWord(request), oneWord(module), strings.ReplaceAll(why, "\n", " "))
	}
}

func oneWord(s string) string { return strings.Join(strings.Fields(s), " ") }

// loadModule loads a module that the kernel may have by now.
func loadModule(name string, data []byte, params string) error {
	err := loadNewModule(name, data, params)
	if errors.Is(err, unix.EEXIST) { // built in, or somebody else was faster
		return nil
	}
	return err
}

// loadNewModule loads a module. The error has the kernel's words from its log.
func loadNewModule(name string, data []byte, params string) error {
	said := openKernelLog()
	defer said.close()
	said.mark()
	err := unix.InitModule(data, params)
	if err == nil || errors.Is(err, unix.EEXIST) {
		return err
	}
	if words := said.last(name); words != "" {
		err = fmt.Errorf("%w: %s", err, words)
	}
	return err
}

// modulePresent says whether a module is there for use. One that is still being
// loaded is not: to load it again waits for it.
func modulePresent(name string) bool {
	dir := "/sys/module/" + name
	state, err := os.ReadFile(dir + "/initstate")
	if err != nil {
		_, err := os.Stat(dir)
		return err == nil // built in
	}
	return strings.TrimSpace(string(state)) == "live"
}

// moduleStore is the archive of modules on demand.
type moduleStore struct {
	zipPath string
	fetch   func() error // brings the file at zipPath if it is not there yet
	load    func(name string, data []byte, params string) error
	present func(name string) bool
	note    func(request, module, why string)
	out     io.Writer
	quiet   bool

	files map[string]*zip.File
	index map[string]wire.ModuleInfo
}

const maxModule = 256 << 20 // bytes of a member, unpacked

func (o *moduleStore) read(name string) ([]byte, error) {
	f := o.files[name]
	if f == nil {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if f.UncompressedSize64 > maxModule {
		return nil, fmt.Errorf("%s has more than %d MiB", name, maxModule>>20)
	}
	b := bytes.NewBuffer(make([]byte, 0, f.UncompressedSize64+bytes.MinRead))
	_, err = b.ReadFrom(io.LimitReader(r, maxModule))
	return b.Bytes(), err
}

// open reads the index. The archive stays open: a tool ends soon.
func (o *moduleStore) open() error {
	if err := o.fetch(); err != nil {
		return err
	}
	zr, err := zip.OpenReader(o.zipPath)
	if err != nil {
		return fmt.Errorf("open the modules: %w", err)
	}
	o.files, o.index = map[string]*zip.File{}, map[string]wire.ModuleInfo{}
	for _, f := range zr.File {
		o.files[f.Name] = f
	}
	b, err := o.read(wire.OnDemandIndex)
	for line := range strings.Lines(string(b)) {
		if m, ok := wire.ParseModuleInfo(line); ok {
			o.index[m.Name] = m
		}
	}
	return err
}

// listed says whether a list of names has one for which match is true, and which.
func (o *moduleStore) listed(list string, match func(name string) bool) (string, bool) {
	b, _ := o.read(list)
	for line := range strings.Lines(string(b)) {
		if name := strings.TrimSpace(line); match(name) {
			return name, true
		}
	}
	return "", false
}

// resolve returns the modules that go by a name.
func (o *moduleStore) resolve(name string) []string {
	if _, ok := o.index[wire.ModuleName(name)]; ok {
		return []string{wire.ModuleName(name)}
	}
	var found []string
	for _, m := range slices.Sorted(maps.Keys(o.index)) {
		if slices.ContainsFunc(o.index[m].Aliases, func(a string) bool { return matchAlias(a, name) }) {
			found = append(found, m)
		}
	}
	return found
}

// matchAlias is fnmatch(3), to which "-" and "_" are the same.
func matchAlias(pattern, name string) bool {
	if !strings.Contains(pattern, "[") {
		pattern, name = wire.ModuleName(pattern), wire.ModuleName(name)
	}
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// wouldMeet says whether a module that was not brought along is most likely what
// a request is for: those of kinds of things end with their names.
func wouldMeet(request, module string) bool {
	request = wire.ModuleName(request)
	for _, kind := range []string{"sch", "cls", "act"} {
		if rest, ok := strings.CutPrefix(request, "net_"+kind+"_"); ok {
			return kind+"_"+rest == module
		}
	}
	if rest, ok := strings.CutPrefix(request, "nft_expr_"); ok {
		return strings.HasSuffix(rest, strings.TrimPrefix(module, "nft"))
	}
	for _, kind := range []string{"", "rtnl_link_", "fs_", "crypto_"} {
		if kind+module == request {
			return true
		}
	}
	return strings.HasPrefix(request, "net_pf_16_proto_16_family_") && strings.HasSuffix(request, "_family_"+module)
}

// install loads what goes by a name, with what it depends on.
func (o *moduleStore) install(name, params string) error {
	found := o.resolve(name)
	if len(found) == 0 {
		plain := wire.ModuleName(name)
		if _, ok := o.listed(wire.OnDemandBuiltin, func(n string) bool { return n == plain }); ok || o.present(plain) {
			return nil
		}
		if m, ok := o.listed(wire.OnDemandOthers, func(n string) bool { return wouldMeet(name, n) }); ok {
			o.note(name, m, notBrought)
			return fmt.Errorf("%s: the VM was started without the module %s: --module %s brings it", name, m, m)
		}
		return fmt.Errorf("%s: %w", name, errAbsent)
	}
	errs := make([]error, len(found))
	failed := 0
	for i, m := range found {
		if errs[i] = o.insert(m, params, map[string]bool{}); errs[i] != nil {
			failed++
		}
	}
	for i, m := range found {
		switch {
		case errs[i] == nil:
			o.note(name, m, "")
		case failed == len(found): // one of several is enough
			o.note(name, m, errs[i].Error())
			errs[i] = fmt.Errorf("%s: %w", m, errs[i])
		default:
			errs[i] = nil
		}
	}
	return errors.Join(errs...)
}

// insert loads one module behind what it depends on. above are those that wait
// for it.
func (o *moduleStore) insert(name, params string, above map[string]bool) error {
	m, ok := o.index[name]
	if !ok || above[name] || o.present(name) {
		return nil
	}
	above[name] = true
	defer delete(above, name)
	o.insertSoft(m.Pre, above)
	for _, d := range m.Depends {
		if err := o.insert(d, "", above); err != nil {
			return fmt.Errorf("%s, which it needs: %w", d, err)
		}
	}
	data, err := o.read(name + ".ko")
	if err == nil {
		err = o.load(name, data, params)
	}
	if err != nil {
		return err
	}
	o.insertSoft(m.Post, above)
	return nil
}

// insertSoft loads what a module can do without. Some of it goes by other names:
// crc32c is crc32c_generic.
func (o *moduleStore) insertSoft(names []string, above map[string]bool) {
	for _, n := range names {
		for _, m := range o.resolve(n) {
			_ = o.insert(m, "", above)
		}
	}
}

// modprobe takes the options that scripts use. Those that have to do with files
// of configuration, which there are none of, change nothing.
func (o *moduleStore) modprobe(args []string) error {
	var names []string
	var remove, all, dry, verbose bool
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case a == "--":
			names = append(names, args[i+1:]...)
			i = len(args)
		case slices.Contains([]string{"-C", "-d", "-S", "--config", "--dirname", "--set-version"}, a):
			i++ // its value
		case strings.HasPrefix(a, "--"):
			switch a {
			case "--remove":
				remove = true
			case "--all":
				all = true
			case "--dry-run", "--show", "--show-depends", "--resolve-alias":
				dry = true
			case "--verbose":
				verbose = true
			case "--quiet":
				o.quiet = true
			}
		case strings.HasPrefix(a, "-"):
			remove = remove || strings.Contains(a, "r")
			all = all || strings.Contains(a, "a")
			dry = dry || strings.ContainsAny(a, "nDR")
			verbose = verbose || strings.ContainsAny(a, "vDR")
			o.quiet = o.quiet || strings.Contains(a, "q")
		default:
			names = append(names, a)
		}
	}
	if len(names) == 0 {
		return errors.New("want the name of a module")
	}
	params := ""
	if !all && !remove {
		names, params = names[:1], strings.Join(names[1:], " ")
	}
	if err := o.open(); err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if verbose || dry {
			for _, m := range o.resolve(name) {
				fmt.Fprintln(o.out, strings.TrimSpace("insmod "+m+".ko "+params))
			}
		}
		switch {
		case remove && !dry:
			for _, m := range o.resolve(name) {
				errs = append(errs, o.remove(m))
			}
		case dry && len(o.resolve(name)) == 0:
			errs = append(errs, fmt.Errorf("%s: %w", name, errAbsent))
		case !dry:
			errs = append(errs, o.install(name, params))
		}
	}
	return errors.Join(errs...)
}

// remove unloads a module, and those that nothing else needs then.
func (o *moduleStore) remove(name string) error {
	if err := unix.DeleteModule(name, unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, d := range o.index[name].Depends {
		_ = o.remove(d) // it may be in use
	}
	return nil
}

func insmod(_ *moduleStore, args []string) error {
	if len(args) == 0 {
		return errors.New("want a file")
	}
	data, err := os.ReadFile(args[0])
	if err == nil {
		name := wire.ModuleName(strings.TrimSuffix(filepath.Base(args[0]), ".ko"))
		err = loadNewModule(name, data, strings.Join(args[1:], " "))
	}
	return wrap(args[0], err)
}

func rmmod(_ *moduleStore, args []string) error {
	var errs []error
	for _, name := range args {
		if !strings.HasPrefix(name, "-") {
			errs = append(errs, wrap(name, unix.DeleteModule(wire.ModuleName(name), unix.O_NONBLOCK)))
		}
	}
	return errors.Join(errs...)
}

func lsmod(o *moduleStore, _ []string) error {
	b, err := os.ReadFile("/proc/modules")
	fmt.Fprintf(o.out, "%-20s%9s  %s\n", "Module", "Size", "Used by")
	for line := range strings.Lines(string(b)) {
		if w := strings.Fields(line); len(w) >= 4 {
			fmt.Fprintf(o.out, "%-20s%9s  %s %s\n", w[0], w[1], w[2], strings.Trim(w[3], "-,"))
		}
	}
	return err
}

// modinfo prints what the index has of modules.
func (o *moduleStore) modinfo(args []string) error {
	field := ""
	if len(args) > 1 && (args[0] == "-F" || args[0] == "--field") {
		field, args = args[1], args[2:]
	}
	if err := o.open(); err != nil {
		return err
	}
	var errs []error
	for _, name := range args {
		found := o.resolve(name)
		if len(found) == 0 {
			errs = append(errs, fmt.Errorf("%s: %w", name, errAbsent))
		}
		for _, m := range found {
			info := o.index[m]
			lines := [][2]string{{"filename", wire.OnDemandPath + "/" + m + ".ko"}, {"name", m}, {"depends", strings.Join(info.Depends, ",")}}
			for _, a := range info.Aliases {
				lines = append(lines, [2]string{"alias", a})
			}
			for _, l := range lines {
				if field == l[0] {
					fmt.Fprintln(o.out, l[1])
				} else if field == "" {
					fmt.Fprintf(o.out, "%-16s%s\n", l[0]+":", l[1])
				}
			}
		}
	}
	return errors.Join(errs...)
}
