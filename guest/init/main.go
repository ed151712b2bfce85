// Command init is PID 1 of the guest. It prepares the file systems that a payload
// expects, runs the payload, reports to the host how that went, and ends the VM
// whatever happens. It owns the console and the results' line. It takes its work
// from a wire.Job, and knows nothing about any particular payload or about tests.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/testrunner"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

func main() {
	switch name := filepath.Base(os.Args[0]); {
	case name == filepath.Base(wire.TestrunnerPath):
		testrunner.Main()
	case moduleTools[name] != nil:
		runModuleTool(name, os.Args[1:])
	}
	if os.Args[0] == coreHelper {
		dumpCore(os.Args[1:])
		return
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this program is the guest's PID 1 and does nothing elsewhere")
		os.Exit(2)
	}
	ignoreSignals()
	con := newConsole(os.Stdout)
	defer powerOff(con)
	defer func() {
		// A panic here would kill PID 1 and read as a kernel panic.
		if p := recover(); p != nil {
			con.logf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if err := run(con); err != nil {
		con.logf("%v", err)
	}
}

// run does the guest's work. An error means that the host gets no end record.
func run(con *serialConsole) error {
	root, err := switchRoot()
	if err != nil {
		return err
	}
	failed := mountAll()
	// The initramfs holds one program for both.
	root.err = errors.Join(root.err, wrap("make "+wire.TestrunnerPath, os.Symlink("/proc/1/exe", wire.TestrunnerPath)))
	cmdline := root.cmdline
	nonce, net, scale := param(cmdline, wire.ParamNonce), param(cmdline, wire.ParamNet), scaleOf(cmdline)
	if err := hideNonce(cmdline); err != nil {
		con.logf("%v", err)
	}
	results, repeat := openResults(param(cmdline, wire.ParamResults), con)
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	hello := &wire.Hello{Release: unix.ByteSliceToString(uts.Release[:]), Version: unix.ByteSliceToString(uts.Version[:]), Machine: unix.ByteSliceToString(uts.Machine[:])}
	prepareErr := errors.Join(prepare(net != "", param(cmdline, wire.ParamRoot) != ""), seedRNG(nonce))
	optional := mountKnown(optionalMounts)
	kernel := fingerprint(hello.Version)
	r := &reporter{con: con}
	if r.taint, err = openTaint(); err != nil {
		return err
	}
	switches := openSwitches()
	if param(cmdline, wire.ParamHandover) != "" {
		handed, err := receiveJob(results)
		if err != nil {
			return err
		}
		nonce = handed.Nonce
	} else {
		// Where timers stand still this is as far as it goes: a machine on which
		// nothing can be tested, rather than a payload that hangs.
		time.Sleep(time.Millisecond)
	}
	shared := &oneAtATime{w: results} // records and chunks
	w := wire.NewWriter(shared, nonce)
	w.Repeat, w.Escape = repeat, escapeStamps
	r.w = w
	if r.before, err = r.taint.read(); err != nil {
		return err
	}

	con.logf("Linux %s %s %s", hello.Release, hello.Version, hello.Machine)
	r.send(wire.Record{Type: wire.TypeHello, Hello: hello})
	unmounted := func(mounts []wire.Mount) {
		for _, m := range mounts {
			con.logf("mount %s on %s: %s", m.Type, m.Target, m.Error)
			r.send(wire.Record{Type: wire.TypeMount, Mount: &m})
		}
	}
	unmounted(failed)
	if prepareErr != nil {
		con.logf("%v", prepareErr)
	}
	if root.note != "" {
		r.send(wire.Record{Type: wire.TypeFile, File: &wire.File{Note: root.note}})
	}
	r.send(wire.Record{Type: wire.TypeKernel, Kernel: kernel})
	lacks := func(modules []wire.Module) {
		for _, m := range modules {
			con.logf("module %s: %s", m.Name, m.Error)
			r.send(wire.Record{Type: wire.TypeModule, Module: &m})
		}
	}
	if !root.loaded {
		root.failed = loadModules()
	}
	lacks(root.failed)
	mountKnown(optional)
	if net != "" {
		if err := networkUp(); err != nil { // mostly a driver's failure
			lacks([]wire.Module{{Name: "network", Error: err.Error()}})
		}
	}

	// From here on the kernel prints everything: a payload that lowers the
	// console's log level must not hide a splat.
	switches.on(con)
	log := followLog()

	job, err := readJob()
	if root.err != nil { // which may be why there is no job
		err = root.err
	}
	if err != nil {
		con.logf("%v", err)
		r.unready = err.Error()
		return r.end(nonce)
	}
	if job.Here != "" {
		if err := bindHere(job.Here); err != nil {
			con.logf("%v", err)
			r.unready = err.Error()
			return r.end(nonce)
		}
	}
	if job.Stream {
		r.stream = newProgramIO(shared, repeat, nonce, param(cmdline, wire.ParamResults), con)
	}
	lacks(absent(job.Modules))
	if job.CgroupV1 {
		unmounted(mountCgroupV1())
	}
	requests, err := serveModules(root.users)
	if err != nil {
		con.logf("%v", err)
	}
	deviceModes() // which modules' nodes have by now
	programs := job
	job = prepareCollect(scaled(job, scale), r)
	endSigns := alive(r)
	if why := loadOwnFrom(wire.OwnModulesDir, job.Own, cmp.Or(job.Timeout, time.Minute), loadNewModule); why != "" {
		con.logf("%s", why)
		r.fails(why)
	} else if job.Terminal != "" {
		r.completed()
		if err := runOnTerminal(job, con); err != nil {
			return err
		}
	} else if len(job.Programs) > 0 {
		runPrograms(programs, r, con, switches, scale)
	} else if len(job.Args) > 0 {
		con.logf("run %s", strings.Join(job.Args, " "))
		runPayload(job, r, con, scale)
		collect(job, r, con, scale)
	} else {
		r.completed()
	}
	refused, loaded := requestedModules(requests)
	lacks(refused)
	if loaded != "" {
		con.logf("modules loaded on demand: %s", loaded)
	}
	switches.on(con) // for what comes behind the end record
	waitForKernelCleanup()
	if text := log.stop(); text != nil {
		r.send(wire.Record{Type: wire.TypeLog, Log: text})
	}
	con.drain()
	endSigns() // the end record is the last
	return r.end(nonce)
}

// readJob reads what to do. Where it is missing, what came before it in the
// archive may be, too.
func readJob() (wire.Job, error) {
	b, err := os.ReadFile(wire.JobPath)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wire.Job{}, errors.New("the kernel did not unpack all of the payload's files: they do not fit into the VM's memory; --memory gives it more")
	case err != nil:
		return wire.Job{}, fmt.Errorf("read the job: %w", err)
	}
	return wire.ParseJob(b)
}

// param returns the value of key=value on a kernel command line.
func param(cmdline, key string) string {
	for _, f := range strings.Fields(cmdline) {
		if v, ok := strings.CutPrefix(f, key+"="); ok {
			return v
		}
	}
	return ""
}

// hideNonce covers /proc/cmdline with a copy that lacks the nonce, so that no
// payload comes across it. One that searches for it as root will find it; the
// host notices when a frame contradicts another.
func hideNonce(cmdline string) error {
	var kept []string
	for _, f := range strings.Fields(cmdline) {
		if !strings.HasPrefix(f, wire.ParamNonce+"=") {
			kept = append(kept, f)
		}
	}
	const copied = "/run/cmdline"
	err := os.WriteFile(copied, []byte(strings.Join(kept, " ")+"\n"), 0o444)
	if err == nil {
		err = unix.Mount(copied, "/proc/cmdline", "", unix.MS_BIND, "")
	}
	// Where a device tree describes the machine, the line stands there too, and
	// in the tree as the kernel got it.
	for _, also := range []string{"/sys/firmware/devicetree/base/chosen/bootargs", "/sys/firmware/fdt"} {
		if _, serr := os.Stat(also); err == nil && serr == nil {
			err = unix.Mount(copied, also, "", unix.MS_BIND, "")
		}
	}
	return wrap("hide the nonce", err)
}

// uptime is the time since the kernel started.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// powerOff ends the VM. Restart is the way that works without ACPI too; the
// host starts QEMU with -no-reboot, so that it ends.
func powerOff(con *serialConsole) {
	con.drain()
	for _, cmd := range []int{unix.LINUX_REBOOT_CMD_RESTART, unix.LINUX_REBOOT_CMD_POWER_OFF} {
		if err := unix.Reboot(cmd); err != nil {
			con.logf("reboot: %v", err)
		}
	}
	select {} // PID 1 must not return while the machine goes down
}
