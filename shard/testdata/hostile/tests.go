package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tests prints what a go test -v does whose tests behave as mode says.
func tests(mode string) error {
	run := func(name string) { fmt.Printf("=== RUN   %s\n", name) }
	pass := func(name string) { fmt.Printf("--- PASS: %s (0.00s)\n", name) }
	run("TestFirst")
	pass("TestFirst")
	switch mode {
	case "hang":
		run("TestHangs")
		time.Sleep(time.Hour)
	case "parallel":
		run("TestA")
		fmt.Println("=== PAUSE TestA")
		run("TestB")
		fmt.Println("=== PAUSE TestB")
		fmt.Println("=== CONT  TestB")
		time.Sleep(2 * time.Second)
		fmt.Println("=== CONT  TestA")
		time.Sleep(time.Hour)
	case "slow": // longer in all than one test may take, and the whole of a test too
		run("TestWhole")
		for i := range 3 {
			name := fmt.Sprintf("TestWhole/%d", i)
			run(name)
			time.Sleep(6 * time.Second)
			fmt.Printf("    --- PASS: %s (6.00s)\n", name)
		}
		pass("TestWhole")
	case "coins": // 20 tests that pass or fail as the kernel's random numbers have it
		coins := make([]byte, 20)
		if _, err := rand.Read(coins); err != nil {
			return err
		}
		code := 0
		for i, c := range coins {
			name := fmt.Sprintf("TestCoin%02d", i)
			run(name)
			if c&1 == 0 {
				pass(name)
				continue
			}
			code = 1
			fmt.Printf("    coin_test.go:1: tails\n--- FAIL: %s (0.00s)\n", name)
		}
		if code == 1 {
			fmt.Println("FAIL")
			os.Exit(1)
		}
	default:
		return fmt.Errorf("unknown tests %q", mode)
	}
	fmt.Println("PASS")
	return nil
}

// starve takes the processor for itself, so that not even init runs. The
// kernel is well.
func starve() error {
	fmt.Println("=== RUN   TestStarve")
	time.Sleep(5 * time.Second) // so that everyone hears of the test, on a busy machine too
	if err := os.WriteFile("/proc/sys/kernel/sched_rt_runtime_us", []byte("-1"), 0); err != nil {
		return err
	}
	for range runtime.NumCPU() {
		go func() {
			runtime.LockOSThread()
			priority := int32(99)
			_, _, errno := unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO, uintptr(unsafe.Pointer(&priority)))
			for errno == 0 {
			}
		}()
	}
	time.Sleep(time.Hour)
	return nil
}
