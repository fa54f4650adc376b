// A health server on grpc-go: the peer that `weft bench hop` is compared with. It prints its port, and for each line on
// stdin the CPU time that it has used, in microseconds.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"syscall"

	"google.golang.org/grpc"
	health "google.golang.org/grpc/health/grpc_health_v1"
)

type server struct {
	health.UnimplementedHealthServer
}

func (server) Check(context.Context, *health.HealthCheckRequest) (*health.HealthCheckResponse, error) {
	return &health.HealthCheckResponse{}, nil
}

func micros(t syscall.Timeval) int64 { return int64(t.Sec)*1_000_000 + int64(t.Usec) }

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	serving := grpc.NewServer()
	health.RegisterHealthServer(serving, server{})
	go func() {
		if err := serving.Serve(listener); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var usage syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(micros(usage.Utime) + micros(usage.Stime))
	}
}
