/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "sysfs.h"
#include "vfio.h"

/* A bus has 256 functions at most. */
#define RESET_SET_MAX 256

#define BUSY_STEP_USEC (50 * USEC_PER_MSEC)

/* --- groups ----------------------------------------------------------------------------------- */

static VfioGroup *find_group(const VfioGroups *groups, int id) {
        for (size_t i = 0; i < groups->n; i++)
                if (groups->items[i].id == id)
                        return &groups->items[i];
        return NULL;
}

int vfio_groups_take(int root_fd, const PciDevice *device, VfioGroups *groups) {
        if (device->iommu_group < 0 || find_group(groups, device->iommu_group))
                return 0;

        _cleanup_close_ int fd = openat(root_fd, PATH_TEXT("dev/vfio/%d", device->iommu_group),
                                        O_RDWR | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;

        VfioGroup *grown = reallocarray(groups->items, groups->n + 1, sizeof(VfioGroup));
        if (!grown)
                return -ENOMEM;
        groups->items = grown;
        groups->items[groups->n++] = (VfioGroup) { .id = device->iommu_group, .fd = TAKE_FD(fd) };
        return 0;
}

int vfio_groups_wait(int root_fd, const PciDevice *device, uint64_t usec, VfioGroups *groups) {
        uint64_t end = now_usec() + usec;
        int r;

        while ((r = vfio_groups_take(root_fd, device, groups)) == -EBUSY) {
                if (now_usec() >= end)
                        return -ETIMEDOUT;
                (void) usleep(BUSY_STEP_USEC);
        }
        return r;
}

void vfio_groups_release(VfioGroups *groups) {
        for (size_t i = 0; i < groups->n; i++)
                (void) close_fd(groups->items[i].fd);
        free(groups->items);
        *groups = (VfioGroups) {};
}

/* --- one function ----------------------------------------------------------------------------- */

/* VFIO hands out a device only where an IOMMU protects the host from it. */
int vfio_device_open(int root_fd, const VfioGroups *groups, const PciDevice *device, VfioDevice *ret) {
        _cleanup_vfio_device_ VfioDevice d = VFIO_DEVICE_INIT;
        const VfioGroup *group = find_group(groups, device->iommu_group);

        if (!group)
                return -ENODEV;

        d.container_fd = openat(root_fd, "dev/vfio/vfio", O_RDWR | O_CLOEXEC | O_NOCTTY);
        if (d.container_fd < 0)
                return errno == ENOENT ? -ENODEV : -errno;
        if (ioctl(group->fd, VFIO_GROUP_SET_CONTAINER, &d.container_fd) < 0)
                return -errno;
        d.group_fd = group->fd;
        if (ioctl(d.container_fd, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU) < 0)
                return -errno;

        d.fd = ioctl(d.group_fd, VFIO_GROUP_GET_DEVICE_FD, PCI_ADDRESS_TEXT(&device->address));
        if (d.fd < 0)
                return -errno;

        *ret = d;
        d = VFIO_DEVICE_INIT;
        return 0;
}

/* The group stays held, free for the next function of it. */
void vfio_device_close(VfioDevice *d) {
        d->fd = close_fd(d->fd);
        if (d->group_fd >= 0)
                (void) ioctl(d->group_fd, VFIO_GROUP_UNSET_CONTAINER);
        d->group_fd = -EBADF; /* it is the list's */
        d->container_fd = close_fd(d->container_fd);
}

/* --- hot reset -------------------------------------------------------------------------------- */

void vfio_reset_set_clear(VfioResetSet *set) {
        free(set->items);
        *set = (VfioResetSet) {};
}

static struct VfioDependent dependent_from_kernel(const struct vfio_pci_dependent_device *d) {
        return (struct VfioDependent) {
                .address = {
                        .domain = d->segment,
                        .bus = d->bus,
                        .slot = d->devfn >> 3 & 0x1f,
                        .function = d->devfn & 7,
                },
                .group = (int) d->group_id,
        };
}

int vfio_device_read_reset_set(const VfioDevice *d, VfioResetSet *ret) {
        _cleanup_free_ struct vfio_pci_hot_reset_info *info = NULL;
        size_t size = sizeof(*info) + RESET_SET_MAX * sizeof(info->devices[0]);

        info = calloc(1, size);
        if (!info)
                return -ENOMEM;

        info->argsz = (uint32_t) size;
        if (ioctl(d->fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info) < 0)
                return -errno;
        if (info->count > RESET_SET_MAX)
                return -EMSGSIZE;

        ret->items = calloc(info->count + 1, sizeof(struct VfioDependent));
        if (!ret->items)
                return -ENOMEM;
        ret->n = info->count;
        for (size_t i = 0; i < ret->n; i++)
                ret->items[i] = dependent_from_kernel(&info->devices[i]);
        return 0;
}

static bool is_in_set(const VfioResetSet *set, int group) {
        for (size_t i = 0; i < set->n; i++)
                if (set->items[i].group == group)
                        return true;
        return false;
}

/* Groups of others in the list make the kernel refuse. */
int vfio_device_hot_reset(const VfioDevice *d, const VfioGroups *groups, const VfioResetSet *set) {
        _cleanup_free_ struct vfio_pci_hot_reset *request = NULL;

        request = calloc(1, sizeof(*request) + groups->n * sizeof(request->group_fds[0]));
        if (!request)
                return -ENOMEM;

        for (size_t i = 0; i < groups->n; i++)
                if (is_in_set(set, groups->items[i].id))
                        request->group_fds[request->count++] = groups->items[i].fd;
        request->argsz = (uint32_t) (sizeof(*request) + request->count * sizeof(request->group_fds[0]));
        return ioctl(d->fd, VFIO_DEVICE_PCI_HOT_RESET, request) < 0 ? -errno : 0;
}
