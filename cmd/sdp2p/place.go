package main

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
)

// place returns the kind of computer that this is, from its files and the
// program's environment.
func place(root fs.FS, env func(string) string) (p placeFacts) {
	exists := func(name string) bool {
		_, err := fs.Stat(root, name)
		return err == nil
	}
	read := func(name string) string {
		b, _ := fs.ReadFile(root, name)
		return strings.ToLower(string(b))
	}
	p.wsl = strings.Contains(read("proc/sys/kernel/osrelease"), "microsoft")
	groups := read("proc/1/cgroup")
	switch {
	case env("KUBERNETES_SERVICE_HOST") != "" || strings.Contains(groups, "kubepods"):
		p.container = kubernetes
	case exists("run/.containerenv") || env("container") == "podman" || strings.Contains(groups, "libpod"):
		p.container = "Podman"
	case exists(".dockerenv") || env("container") == "docker" || strings.Contains(groups, "docker"):
		p.container = "Docker"
	case env("container") != "": // as systemd specifies it: the name of the manager
		p.container = env("container")
	case strings.Contains(groups, "/lxc"):
		p.container = "lxc"
	case strings.Contains(groups, "containerd"):
		p.container = "containerd"
	}
	return p
}

const kubernetes = "Kubernetes"

// container warns if this host is in a network that ends inside the computer,
// which multicast does not leave, and whose addresses mean nothing outside. It
// says how its nodes are reached.
func (f *facts) container() []check {
	used := f.used()
	i := slices.IndexFunc(used, func(l linkFacts) bool { return l.Gateway.IsValid() })
	if len(used) == 0 || i < 0 {
		return nil // there is no network to be separated from
	}
	l := &used[i]
	where := fmt.Sprintf("its interface %s (%v behind the router %v)", l.Name, first4(l.Addrs), l.Gateway)
	heard := slices.ContainsFunc(f.ears, func(x earFacts) bool { return x.packets > 0 })
	inside := !slices.ContainsFunc(used, func(l linkFacts) bool { return l.kind != "veth" && l.kind != "tun" })
	of := f.place.container
	c := check{"container", of, warn, codeContainer, "", ""}
	switch {
	case inside && slices.Contains([]string{"Docker", "Podman", kubernetes}, of), inside && of != "" && !heard:
		c.Value = where + " is on a network inside its computer"
	case inside && !heard: // an ordinary computer has other interfaces, too
		c.Value = "this looks like a container: " + where + " is a virtual one"
	case f.place.wsl && !heard:
		c.Subject, c.Code, c.Value = "WSL", codeNAT, where+" is on a network inside Windows"
	case l.Gateway == netip.AddrFrom4([4]byte{10, 0, 2, 2}) && !heard: // of QEMU and VirtualBox
		c.Subject, c.Code, c.Value = "virtual machine", codeNAT, where+" is on a network inside its computer"
	default:
		return nil
	}
	c.Value += ", which multicast does not leave: nodes inside and outside do not discover each other"
	c.Advice = f.wayIn(&c, first4(l.Addrs).Addr())
	return []check{c}
}

// first4 returns the first IPv4 address, or else the first address.
func first4(all []netip.Prefix) netip.Prefix {
	if i := slices.IndexFunc(all, func(p netip.Prefix) bool { return p.Addr().Is4() }); i >= 0 {
		return all[i]
	}
	return all[0]
}

// wayIn says how to reach a node in a network of its own from outside.
func (f *facts) wayIn(c *check, own netip.Addr) string {
	publish, or := fmt.Sprintf("publish it (docker run -p %d:%[1]d/udp)", f.port), " Or run the container with --network host (Linux), and everything works as without a container."
	switch {
	case c.Subject == kubernetes:
		publish, or = fmt.Sprintf("publish it (hostPort %d, protocol UDP)", f.port), " Or run the pod with hostNetwork: true."
	case c.Subject == "Podman":
		publish = strings.Replace(publish, "docker", "podman", 1)
	case c.Subject == "WSL":
		publish, or = fmt.Sprintf("make Windows forward UDP port %d to it", f.port), " Or set networkingMode=mirrored in .wslconfig, and everything works as without it."
	case c.Code == codeNAT:
		publish, or = fmt.Sprintf("make the computer forward UDP port %d to it", f.port), " Or bridge the machine's network adapter, and everything works as without it."
	}
	return fmt.Sprintf("Make the app listen on a fixed port (quic.Config.Port: %d) and %s. Then type HOST:%d into the devices outside, where HOST is the "+
		"address of its computer in their network: %v means nothing to them. If another port is published, type that. Type the devices' addresses into the app here.%s",
		f.port, publish, f.port, own, or)
}
