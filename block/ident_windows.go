package block

import "golang.org/x/sys/windows"

// look returns the ident of a name in the folder. It follows no link.
func (h *handle) look(name string) (i ident) {
	info, err := h.root.Lstat(name)
	if err != nil || !info.IsDir() && !info.Mode().IsRegular() {
		return i
	}
	f, err := h.root.Open(name)
	if err != nil {
		return i
	}
	defer f.Close()
	var s windows.ByHandleFileInformation
	if windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &s) != nil {
		return i
	}
	i = ident{
		device: uint64(s.VolumeSerialNumber), file: uint64(s.FileIndexHigh)<<32 | uint64(s.FileIndexLow), size: info.Size(),
		time: info.ModTime().UnixNano(), links: uint64(s.NumberOfLinks), kind: regularKind,
	}
	if info.IsDir() {
		i.kind = folderKind
	}
	return i
}
