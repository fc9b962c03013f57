"""What is made from files is made again when they change, looked at now and then, and kept when that fails."""

import threading

import pytest

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.serving.follow import Followed


class World:
    """Files that change, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds, self.files, self.looks, self.makes = 0.0, "a", 0, 0
        self.fails = False

    def look(self) -> str:
        self.looks += 1
        return self.files

    def make(self) -> str:
        self.makes += 1
        if self.fails:
            raise ArtefactError(f"damaged: {self.files}. Mend it.")
        return f"made of {self.files}"

    def followed(self) -> Followed[str]:
        return Followed("champion", self.look, self.make, every_seconds=5, clock=lambda: self.seconds)


def test_it_is_made_once_and_looked_at_no_more_often_than_said():
    world = World()
    followed = world.followed()
    for seconds in (0.0, 1.0, 4.9):
        world.seconds = seconds
        assert followed.current() == "made of a"
    assert (world.looks, world.makes) == (1, 1)
    world.seconds = 5.0
    assert followed.current() == "made of a" and (world.looks, world.makes) == (2, 1)


def test_a_change_is_seen_at_the_next_look():
    world = World()
    followed = world.followed()
    followed.current()
    world.files, world.seconds = "b", 4.9
    assert followed.current() == "made of a"
    world.seconds = 5.0
    assert followed.current() == "made of b"


def test_what_there_was_stays_when_the_new_one_cannot_be_made_and_the_problem_is_told():
    world = World()
    followed = world.followed()
    followed.current()
    world.files, world.fails, world.seconds = "b", True, 5.0
    assert followed.current() == "made of a" and "damaged: b" in str(followed.problem)
    world.fails, world.seconds = False, 10.0
    assert followed.current() == "made of b" and followed.problem is None


def test_without_anything_made_the_problem_is_raised_until_it_is_mended():
    world = World()
    followed, world.fails = world.followed(), True
    for _ in range(2):
        with pytest.raises(ArtefactError, match="damaged: a"):
            followed.current()
    assert world.makes == 1
    world.fails, world.seconds = False, 5.0
    assert followed.current() == "made of a"


def test_while_one_thread_makes_it_anew_the_others_get_what_there_was():
    world = World()
    begun, may_end = threading.Event(), threading.Event()

    def slow() -> str:
        if world.files == "b":
            begun.set()
            assert may_end.wait(10)
        return f"made of {world.files}"

    followed = Followed("tables", world.look, slow, every_seconds=5, clock=lambda: world.seconds)
    followed.current()
    world.files, world.seconds = "b", 5.0
    answers: list[str] = []
    one = threading.Thread(target=lambda: answers.append(followed.current()))
    one.start()
    assert begun.wait(10)
    assert followed.current() == "made of a"
    may_end.set()
    one.join(10)
    assert answers == ["made of b"] and followed.current() == "made of b"
