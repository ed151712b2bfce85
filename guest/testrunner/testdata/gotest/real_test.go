// Package gotest is what TestGoTestBinary and others run: tests that end in every
// way there is. The environment says how.
package gotest

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	switch os.Getenv("MAIN") {
	case "fatal":
		log.Fatal("no bpffs")
	case "exit":
		fmt.Println("PASS")
		os.Exit(0)
	case "goexit":
		runtime.Goexit()
	case "goexit after":
		m.Run()
		runtime.Goexit()
	case "panic after":
		m.Run()
		panic("cleaning up")
	case "twice":
		m.Run()
	}
	os.Exit(m.Run())
}

func TestFirst(t *testing.T) { t.Log("first") }

func TestDies(t *testing.T) {
	fmt.Println("what was printed before")
	die(t, os.Getenv("DIE"))
}

func die(t *testing.T, how string) {
	switch how {
	case "fail":
		t.Error("it is wrong")
	case "skip":
		t.Skip("no BTF")
	case "fatal":
		log.Fatal("no such map")
	case "nil":
		var p *int
		fmt.Println(*p)
	case "exit 3":
		os.Exit(3)
	case "exit 0":
		os.Exit(0)
	case "exit_group 0":
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "goroutine":
		go panic("elsewhere")
		time.Sleep(time.Hour)
	case "maps":
		m := map[int]int{}
		for range 4 {
			go func() {
				for i := 0; ; i++ {
					m[i%8] = i
				}
			}()
		}
		time.Sleep(time.Hour)
	case "deadlock":
		select {}
	case "goexit":
		runtime.Goexit()
	case "cleanup":
		t.Cleanup(func() { t.FailNow() })
	case "cleanup panics":
		t.Cleanup(func() { panic("cleaning up") })
	case "subtest":
		t.Run("a", func(t *testing.T) {})
		t.Run("b", func(t *testing.T) { panic("in a subtest") })
	case "hang":
		t.Run("deep", func(t *testing.T) { waitsForever() })
	}
}

// waitsForever says when it sleeps: the stack of a goroutine that runs is not shown.
func waitsForever() {
	go func() {
		for buf := make([]byte, 64<<10); !bytes.Contains(buf[:runtime.Stack(buf, true)], []byte("[sleep")); {
			runtime.Gosched()
		}
		fmt.Println("it sleeps")
	}()
	time.Sleep(time.Hour)
}

// TestSelf runs its own program with its own arguments.
func TestSelf(t *testing.T) {
	if how := os.Getenv("CHILD"); how != "" {
		fmt.Println("in the child")
		die(t, how)
		return
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), "CHILD="+os.Getenv("SELF"))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if os.Getenv("EXECVE") != "" {
		t.Fatal(syscall.Exec(os.Args[0], os.Args, cmd.Env))
	}
	err := cmd.Run()
	if want := os.Getenv("SELF") == "pass"; (err == nil) != want {
		t.Errorf("the child ended with %v", err)
	}
	switch os.Getenv("PARENT") {
	case "dies":
		os.Exit(1)
	case "fails":
		t.Error("the parent minds")
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"with space", "50%", "grüße", "a/b", "#00", "tab\there", "(0.00s)", "--- FAIL: TestX (0.00s)", "", ""} {
		t.Run(name, func(t *testing.T) {
			fmt.Print("no newline")
			if name == "50%" {
				t.Error("100% wrong")
			}
		})
	}
}

func TestParallel(t *testing.T) {
	started := make(chan bool)
	for i := range 3 {
		t.Run(fmt.Sprintf("p%d", i), func(t *testing.T) {
			t.Parallel()
			if i == 0 {
				<-started // it logs while the others run
				t.Error("of p0")
			}
			if i == 2 {
				close(started)
			}
		})
	}
}

func TestPrints(t *testing.T) {
	fmt.Println("--- FAIL: TestOther (0.00s)")
	fmt.Println("    --- FAIL: TestPrints/sub (0.00s)")
	fmt.Println("PASS")
	fmt.Println("=== RUN   TestPhantom")
	fmt.Println("ok  \tsome/package\t0.1s")
	fmt.Print("a line without an end\nFAIL")
}

func TestAttributes(t *testing.T) {
	t.Attr("kernel", "6.1")
	t.Attr("FAIL", "--- FAIL: TestAttributes (0.00s)")
}

func TestLast(t *testing.T) { t.Log("last") }

func FuzzSeeds(f *testing.F) {
	f.Add("a")
	f.Add("b")
	f.Fuzz(func(t *testing.T, s string) {
		if s == "b" {
			t.Error("seed b")
		}
	})
}

func Example_good() {
	fmt.Println("good")
	// Output: good
}

func Example_bad() {
	fmt.Println("this")
	// Output: that
}

func BenchmarkGood(b *testing.B) {
	for b.Loop() {
	}
}

func BenchmarkBad(b *testing.B) {
	b.Run("passes", func(b *testing.B) {})
	b.Run("fails", func(b *testing.B) { b.Error("too slow") })
	b.Run("skips", func(b *testing.B) { b.Skip("no counter") })
	b.Run("logs", func(b *testing.B) { b.Log("a word") })
}
