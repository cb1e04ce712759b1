"""Working directories go with their job, whatever a handler put into them."""

from __future__ import annotations

from pathlib import Path

from thingjobs_agent.steps import remove_tree


def test_tree_is_removed_and_nothing_that_links_lead_to(tmp_path: Path) -> None:
    """Links are removed, not followed."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    tree = tmp_path / "tree"
    deep = tree / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    (deep / "file").chmod(0)
    (tree / "a" / "to-directory").symlink_to(kept, target_is_directory=True)
    (tree / "to-file").symlink_to(kept / "file")
    (tree / "broken").symlink_to(tmp_path / "none")
    remove_tree(tree)
    assert not tree.exists()
    assert (kept / "file").exists()


def test_file_or_link_in_the_place_of_a_tree_is_no_fault(tmp_path: Path) -> None:
    """What is not there, or not ours to follow, is left alone."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "kept", target_is_directory=True)
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "none")
    assert (tmp_path / "kept" / "file").exists()
