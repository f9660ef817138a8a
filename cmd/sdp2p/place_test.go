package main

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// Signs of a container are read from files, and from the environment.
func TestPlace(t *testing.T) {
	for _, c := range []struct {
		files map[string]string
		env   map[string]string
		want  placeFacts
	}{
		{map[string]string{"proc/1/cgroup": "0::/init.scope\n", "proc/sys/kernel/osrelease": "6.1.0-amd64\n"}, nil, placeFacts{}},
		{map[string]string{".dockerenv": ""}, nil, placeFacts{container: "Docker"}},
		{map[string]string{"proc/1/cgroup": "12:pids:/docker/0123\n"}, nil, placeFacts{container: "Docker"}},
		{map[string]string{"run/.containerenv": ""}, map[string]string{"container": "podman"}, placeFacts{container: "Podman"}},
		{map[string]string{".dockerenv": ""}, map[string]string{"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, placeFacts{container: kubernetes}},
		{map[string]string{"proc/1/cgroup": "0::/kubepods/besteffort\n"}, nil, placeFacts{container: kubernetes}},
		{nil, map[string]string{"container": "systemd-nspawn"}, placeFacts{container: "systemd-nspawn"}},
		{map[string]string{"proc/1/cgroup": "5:cpu:/lxc/box\n"}, nil, placeFacts{container: "lxc"}},
		{map[string]string{"proc/1/cgroup": "0::/system.slice/containerd.service\n"}, nil, placeFacts{container: "containerd"}},
		{map[string]string{"proc/sys/kernel/osrelease": "5.15.90.1-microsoft-standard-WSL2\n"}, nil, placeFacts{wsl: true}},
	} {
		root := fstest.MapFS{}
		for name, text := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		require.Equal(t, c.want, place(root, func(key string) string { return c.env[key] }), c.files)
	}
}
