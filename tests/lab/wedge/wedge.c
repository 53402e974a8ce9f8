// SPDX-License-Identifier: LGPL-2.1-or-later

/* A PCI driver that does not let go of its device while /sys/module/wedge/parameters/hold is Y: its
 * remove() sleeps as a driver does that waits for a last user who never leaves. It takes no device
 * by itself; driver_override gives it one. */

#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/pci.h>
#include <linux/wait.h>

static DECLARE_WAIT_QUEUE_HEAD(let_go);
static bool hold;

static int hold_set(const char *value, const struct kernel_param *parameter)
{
        int r = param_set_bool(value, parameter);

        wake_up_all(&let_go);
        return r;
}

static const struct kernel_param_ops hold_ops = {
        .set = hold_set,
        .get = param_get_bool,
};

module_param_cb(hold, &hold_ops, &hold, 0644);
MODULE_PARM_DESC(hold, "whether remove() waits");

static int wedge_probe(struct pci_dev *device, const struct pci_device_id *id)
{
        return 0;
}

static void wedge_remove(struct pci_dev *device)
{
        wait_event(let_go, !READ_ONCE(hold));
}

static const struct pci_device_id wedge_ids[] = { {} };

static struct pci_driver wedge_driver = {
        .name = "wedge",
        .id_table = wedge_ids,
        .probe = wedge_probe,
        .remove = wedge_remove,
};

module_pci_driver(wedge_driver);
MODULE_DESCRIPTION("A driver whose remove() blocks, for tests");
MODULE_LICENSE("GPL");
