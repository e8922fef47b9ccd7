// SPDX-License-Identifier: GPL-2.0-or-later
// What type-checks against the generated declarations; each line after @ts-expect-error must not.
/// <reference path="xenmgr_vm_client.d.ts" />
/// <reference path="xenmgr_client.d.ts" />

const vm = new XenClient.DBus.XenmgrVmClient("com.citrix.xenclient.xenmgr", "/vm/x").com.citrix.xenclient.xenmgr.vm;
vm.get_property("memory", (mib) => { const number: number = mib; return number; });
vm.set_property("name", "n", () => undefined, (failure) => { const code: number = failure.code; return code; });
vm.pci.list_pt_pci_devices((devices) => { const list: Array<Record<string, string>> = devices; return list; });
const state: "creating" = XenClient.Resource.Xenmgr.VM_STATE.CREATING;
// @ts-expect-error: the memory is a number
vm.set_property("memory", "512");
// @ts-expect-error: there is no such property
vm.get_property("memori");
// @ts-expect-error: it takes no argument but the callbacks
vm.start("now");
