package child

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const parentEnv = "CHILD_TEST_PARENT"

// TestMain is the parent, too, that is to die.
func TestMain(m *testing.M) {
	if os.Getenv(parentEnv) == "" {
		os.Exit(m.Run())
	}
	// Threads that come and go must not end the child.
	for range 20 {
		done := make(chan struct{})
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends
			close(done)
		}()
		<-done
	}
	cmd := exec.Command("sleep", "1000")
	cmd.Stdout = os.Stdout // held open while it lives
	if err := Start(cmd); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for range 20 {
		done := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(done)
		}()
		<-done
	}
	fmt.Println(cmd.Process.Pid)
	select {}
}

func TestChildDiesWithItsParent(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentEnv+"=1")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	parent.Stdout = w
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	out := bufio.NewReader(r)
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(line)
	}
	child, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("the child does not live: %v", err)
	}
	defer unix.Close(child)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	// The descriptor can be read once the process has ended.
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(child), Events: unix.POLLIN}}, 10_000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n != 1 {
			t.Errorf("the child lives on after 10 s: %d, %v", n, err)
		}
		return
	}
}

func TestStartSaysWhatIsMissing(t *testing.T) {
	if err := Run(exec.Command("/does/not/exist")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// What a command started ends with its context: it would hold its output open.
func TestOutputEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out, said, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", "sleep 1000 & echo started >&3; wait")
	cmd.ExtraFiles = []*os.File{said}
	done := make(chan error)
	go func() {
		_, err := Output(cmd)
		done <- err
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "started\n" {
		t.Fatalf("%q, %v", line, err)
	}
	cancel()
	if err := <-done; err == nil || errors.Is(err, exec.ErrWaitDelay) {
		t.Errorf("%v: want its own end", err)
	}
	said.Close()
	if n, err := out.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) { // the children are gone
		t.Errorf("%d, %v", n, err)
	}
}

func TestOutput(t *testing.T) {
	for script, want := range map[string]string{"echo a; echo b": "a\nb\n", "echo a; exit 3": "a\n"} {
		out, err := Output(exec.CommandContext(t.Context(), "sh", "-c", script))
		if string(out) != want || (err == nil) != !strings.Contains(script, "exit") {
			t.Errorf("%s: %q, %v", script, out, err)
		}
	}
	if _, err := Output(exec.CommandContext(t.Context(), "there-is-no-such-program")); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// A program of somebody else's gets neither the job's secrets nor its inputs.
func TestEnviron(t *testing.T) {
	for _, name := range []string{"GITHUB_TOKEN", "INPUTS", "INPUT_TEST", "ACTIONS_RUNTIME_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS", "AWS_SECRET_ACCESS_KEY", "https_proxy", "LC_TIME"} {
		t.Setenv(name, "of "+name)
	}
	out, err := Output(exec.CommandContext(t.Context(), "env"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range strings.Split(string(out), "\n") {
		if name, value, _ := strings.Cut(l, "="); value == "of "+name {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	if want := []string{"LC_TIME", "https_proxy"}; !slices.Equal(got, want) || !strings.Contains(string(out), "PATH=") {
		t.Errorf("it has %q, want %q\n%s", got, want, out)
	}
}
